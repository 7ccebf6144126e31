package steps

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestInstallersOnTwoMachinesAreKeptApart(t *testing.T) {
	if !apart(t) {
		return
	}
	file := makeBundle(t, stepstest.Cluster())
	a, b, c := sshHost(t, "127.0.0.2", "right", true), sshHost(t, "127.0.0.3", "right", true), sshHost(t, "127.0.0.4", "right", true)
	machine := func() { t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir()) }
	machine()
	first := newRun(t, file, t.Output(), a)
	if err := first.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := first.Open(t.Context()); len(p) > 0 {
		t.Fatal(p)
	}
	// All hosts of this test have one file system, so that every master is the one that is locked.
	machine()
	second := newRun(t, file, t.Output(), b, c)
	_, err := second.check(t.Context())
	var pre *preflight.Error
	if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool {
		return p.Check == "lock" && strings.Contains(p.Message, "cluster default is being worked on by another sealinstall (process ") && p.Remedy != ""
	}) {
		t.Fatalf("the second is told %v", err)
	}
	for _, target := range second.Targets {
		if target.Looked {
			t.Errorf("%s was looked at", target.IP)
		}
	}
	if err := first.Lost(); err != nil {
		t.Errorf("the first lost its lock: %v", err)
	}
	closeRun(t, first)
	if _, err := os.Stat(first.LockPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock's file stays: %v", err)
	}
	machine()
	third := newRun(t, file, t.Output(), b)
	if err := third.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := third.Open(t.Context()); len(p) > 0 {
		t.Errorf("after the first ended: %v", p)
	}
}
