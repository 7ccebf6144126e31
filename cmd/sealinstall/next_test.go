package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

func TestTheSameCommandIsNamedOnlyWhereItCanHelp(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		again bool
		want  string
	}{
		{"a script", &agent.ScriptError{Host: "10.0.0.2", Line: "bash init.sh", Code: 1}, true, "goes on where it stopped"},
		{"Ctrl-C", errors.Join(installer.ErrInterrupted, errors.New("killed")), true, "goes on where it stopped"},
		{"Ctrl-C while waiting", &kube.NotReadyError{Cause: installer.ErrInterrupted}, true, "goes on where it stopped"},
		{"wrong flags", &installer.StepError{Step: "renew", Err: usage.Errorf("no such certificate")}, false, "correct the command"},
		{"problems of hosts", &preflight.Error{}, false, "or the command that a remedy names"},
		{"a damaged bundle", fmt.Errorf("open: %w", &bundle.CorruptError{Err: errors.New("x")}), false, "copy the bundle here again"},
		{"a cut bundle", &bundle.TruncatedError{}, false, "copy the bundle here again"},
		{"a refusal", &agent.Error{Code: agent.CodeRefused}, false, "refuse this again"},
		{"a lost lock", fmt.Errorf("10.0.0.2: %w", fleet.ErrLockLost), false, "wait for the other sealinstall"},
		{"not ready", &kube.NotReadyError{}, true, "sealinstall status"},
		{"status", errNotReady, false, "the same command tells when it is mended"},
		{"no login", &host.Error{Kind: host.ErrAuth}, true, "give access"},
	} {
		got := nextStep(c.err)
		if !strings.Contains(got, c.want) || strings.Contains(got, "goes on where it stopped") && !c.again {
			t.Errorf("%s: next: %s", c.name, got)
		}
	}
}

func TestTheQuestionBeforeHostsLeaveNamesWhatIsLost(t *testing.T) {
	got := asksToLeave([]leaving.Loss{{Host: "10.0.0.6", Node: "host-6", Role: "node", Lost: []string{"data of pod shop/db-0: emptyDir scratch, 3.0 MiB"}}})
	want := "these hosts leave the cluster:\n  host-6 10.0.0.6 (node)\n    lost: data of pod shop/db-0: emptyDir scratch, 3.0 MiB\ntype yes to go on: "
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
