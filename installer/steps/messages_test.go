package steps

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

func TestEveryKindOfErrorNamesItsHostOnce(t *testing.T) {
	const ip = "10.0.0.2"
	script := &agent.ScriptError{Host: ip, Line: "bash init.sh", Code: 1, Tail: []string{"no"}}
	for _, err := range []error{
		&installer.CommandError{Host: ip, Command: "kubeadm join", Code: 1}, script, &agent.Error{Host: ip, Verb: "exec", Message: "no"},
		&installer.GuestError{Host: ip, Image: "app", Command: "sh", Err: script}, &installer.GuestError{Host: ip, Image: "app", Command: "sh", Err: &agent.Error{Host: ip, Verb: "script", Message: "no"}},
		&host.Error{Host: ip, Kind: host.ErrUnreachable, Err: errors.New("no")}, &host.ExitError{Host: ip, Argv: []string{"test"}, Code: 1},
		fmt.Errorf("restart kube-proxy: %w", &installer.HostError{Host: ip, Err: &installer.CommandError{Host: ip, Command: "kubectl", Code: 1}}),
	} {
		whole := &installer.StepError{Step: "bootstrap", Err: errors.Join(&installer.HostError{Host: ip, Err: err})}
		if text := installer.Tell(whole); strings.Count(text, ip) != 1 {
			t.Errorf("%T: %s", err, text)
		}
		if p := preflight.From(&installer.HostError{Host: ip, Err: err}, "connect"); len(p) != 1 || p[0].Host != ip || strings.Contains(p[0].Message, ip) {
			t.Errorf("%T as a problem: %+v", err, p)
		}
	}
}

func TestAScriptThatPrintsNothingIsToldByItsStatus(t *testing.T) {
	p := preflight.From(&installer.HostError{Host: "10.0.0.2", Err: &agent.ScriptError{Host: "10.0.0.2", Line: "bash check.sh", Code: 4}}, "check.sh")
	if want := "the image's check script fails: exit status 4, and it printed nothing"; len(p) != 1 || p[0].Message != want {
		t.Errorf("told: %+v", p)
	}
}
