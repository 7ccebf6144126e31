package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariablesThatNoShellCouldSetComeThroughShells(t *testing.T) {
	before := []string{"PATH=/bin", "p-data-1=value=1", "data.2=", "1x=\n"}
	packed := pack(pack(before))
	for _, v := range packed {
		if v != "PATH=/bin" && v[:len(carrier)] != carrier {
			t.Errorf("the shell would drop %q", v)
		}
	}
	after := unpack(packed)
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A=1"}, unpack(pack([]string{"A=1"}))); diff != "" {
		t.Errorf("nothing to keep (-want +got):\n%s", diff)
	}
}

func TestOnlyAScriptWithSuchVariablesIsChanged(t *testing.T) {
	script := []string{"/bin/sh", "-c", "env"}
	if diff := cmp.Diff(script, withOurEnv(script, []string{"A=1"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{"/bin/sh", "-c", `env() { /bin/env "$@"; }; env`}
	if diff := cmp.Diff(want, withOurEnv(script, pack([]string{"a-b=1"}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"sh"}, withOurEnv([]string{"sh"}, pack([]string{"a-b=1"}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
