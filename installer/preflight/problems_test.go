package preflight

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
)

func TestPreflightErrorNamesEveryProblemWithItsRemedy(t *testing.T) {
	err := &Error{Problems: []Problem{
		{Host: "10.0.0.2", Check: "port", Message: "port 6443 is taken", Remedy: "stop it"},
		{Host: "10.0.0.2", Check: "memory", Message: "too little", Remedy: "give more"},
		{Host: "10.0.0.3", Check: "connect", Message: "login refused", Remedy: "check the key"},
	}}
	text := err.Error()
	first, rest, _ := strings.Cut(text, "\n")
	if first != "3 problems on 2 hosts; no host was changed" {
		t.Errorf("first line %q", first)
	}
	at := 0
	for _, p := range err.Problems { // in order, each remedy right below its message
		for _, part := range []string{p.Host, p.Check, p.Message, "remedy: " + p.Remedy} {
			i := strings.Index(rest[at:], part)
			if i < 0 {
				t.Fatalf("%q is missing or out of order in:\n%s", part, text)
			}
			at += i
		}
	}
}

func TestProblemsOfJoinedHostErrors(t *testing.T) {
	unreachable := &host.Error{Host: "10.0.0.2", Kind: host.ErrUnreachable, Err: errors.New("connection refused"), Remedy: "is the host up?"}
	auth := &host.Error{Host: "10.0.0.3", Kind: host.ErrAuth}
	script := &agent.ScriptError{Host: "10.0.0.4", Line: "bash check.sh", Code: 1, Tail: []string{"swap is on", "firewalld is active"}}
	err := errors.Join(
		&installer.HostError{Host: "10.0.0.2", Err: unreachable},
		&installer.HostError{Host: "10.0.0.3", Err: auth},
		nil,
		&installer.HostError{Host: "10.0.0.4", Err: errors.Join(fmt.Errorf("check: %w", script), errors.New("remove: busy"))},
		&installer.HostError{Host: "10.0.0.5", Err: fmt.Errorf("read facts: %w", errors.New("broken pipe"))},
	)
	want := []Problem{
		{Host: "10.0.0.2", Check: "connect", Message: "host is unreachable: connection refused", Remedy: "is the host up?"},
		{Host: "10.0.0.3", Check: "connect", Message: "login refused", Remedy: MendIt},
		{Host: "10.0.0.4", Check: "connect", Message: "the image's check script fails: swap is on / firewalld is active", Remedy: "mend what it names, then run the same command again"},
		{Host: "10.0.0.5", Check: "connect", Message: "read facts: broken pipe", Remedy: MendIt},
	}
	if diff := cmp.Diff(want, From(err, "connect")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := From(nil, "connect"); got != nil {
		t.Errorf("problems of no error: %+v", got)
	}
}

func TestUnjoinKeepsAHostErrorWhole(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	if got := Unjoin(errors.Join(a, errors.Join(b, c))); len(got) != 3 || got[0] != a || got[1] != b || got[2] != c {
		t.Errorf("unjoin of nested joins = %v", got)
	}
	// It wraps two errors, as a join does, but it is one.
	he := &host.Error{Host: "10.0.0.2", Kind: host.ErrUnreachable, Err: a}
	if got := Unjoin(errors.Join(he, b)); len(got) != 2 || got[0] != error(he) || got[1] != b {
		t.Errorf("unjoin of a host error = %v", got)
	}
}

func TestTwoHundredHostsWithOneProblemReadAsOne(t *testing.T) {
	e := &Error{}
	for i := range 200 {
		e.Problems = append(e.Problems, Problem{Host: fmt.Sprintf("10.0.0.%d", i+1), Check: "port", Message: "port 6443 is taken", Remedy: "stop it"})
	}
	for i := range 30 {
		e.Problems = append(e.Problems, Problem{Host: fmt.Sprintf("10.0.1.%d", 2*i), Check: "disk", Message: fmt.Sprintf("%d MiB free", i), Remedy: "free some"})
	}
	e.Problems = append(e.Problems, Problem{Check: "clock", Message: "another time here", Remedy: "set it"})
	text := e.Error()
	lines := strings.Split(text, "\n")
	if len(lines) != 1+3+maxLines+2+1+2 {
		t.Errorf("%d lines:\n%s", len(lines), text)
	}
	for _, want := range []string{
		"231 problems on 231 hosts", "\n  10.0.0.1-10.0.0.200 (200 hosts)\n                  port         port 6443 is taken\n", "  10.0.1.0        disk         0 MiB free",
		"10.0.1.20,10.0.1.22,10.0.1.24", "(20 hosts)\n                  disk         and the like\n", "  cluster         clock        another time here",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestHostsAreWrittenAsTheFlagsTakeThem(t *testing.T) {
	for want, hosts := range map[string][]string{
		"10.0.0.2":                             {"10.0.0.2", "10.0.0.2"},
		"10.0.0.2-10.0.0.3,10.0.0.9 (3 hosts)": {"10.0.0.9", "10.0.0.3", "10.0.0.2"},
		"10.0.0.255-10.0.1.0":                  {"10.0.0.255", "10.0.1.0"},
		"cluster,fd00::1-fd00::2":              {"", "fd00::2", "fd00::1"},
		"name":                                 {"name"},
	} {
		if got := installer.HostList(hosts); got != want {
			t.Errorf("%q: %q", hosts, got)
		}
	}
}

func TestIgnoredProblemsAreStillTold(t *testing.T) {
	all := []Problem{{Host: "a", Check: "swap", Warning: true}, {Host: "a", Check: "disk"}, {Host: "b", Check: "port"}}
	serious, warnings := Settle(all, []string{"disk", "swap"})
	if diff := cmp.Diff([]Problem{{Host: "b", Check: "port"}}, serious); diff != "" {
		t.Error(diff)
	}
	want := []Problem{{Host: "a", Check: "swap", Warning: true}, {Host: "a", Check: "disk", Warning: true, Ignored: true}}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if all[1].Warning {
		t.Error("the caller's problems were changed")
	}
}
