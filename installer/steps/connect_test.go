package steps

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// checkProblems runs the check of a run, and gives the problems that some checks found.
func checkProblems(t *testing.T, r *Run, checks ...string) []string {
	t.Helper()
	r.IgnoreChecks = nil
	err := inEngine(t.Context(), r, (*Run).check)
	var pre *preflight.Error
	if err != nil && !errors.As(err, &pre) {
		t.Fatal(err)
	}
	var out []string
	if pre != nil {
		for _, p := range pre.Problems {
			if slices.Contains(checks, p.Check) {
				out = append(out, p.Host+" "+p.Check+": "+p.Message)
			}
		}
	}
	return out
}

func TestFirewallBetweenHostsIsFound(t *testing.T) {
	if !apart(t) {
		return
	}
	for _, rule := range []string{
		"add table inet site", "add chain inet site input { type filter hook input priority 0; policy accept; }",
		"add rule inet site input ip daddr 127.0.0.2 tcp dport { 2379, 6443 } drop",
		"add rule inet site input ip daddr 127.0.0.4 tcp dport 10250 reject with tcp reset",
	} {
		if out, err := exec.CommandContext(t.Context(), "nft", rule).CombinedOutput(); err != nil {
			t.Skipf("no nftables here: %v: %s", err, out)
		}
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(),
		sshHost(t, "127.0.0.2", "right", true), sshHost(t, "127.0.0.3", "right", true), sshHost(t, "127.0.0.4", "right", false))
	want := []string{
		"127.0.0.2 reach: TCP 2379 cannot be reached from 127.0.0.3: nothing comes back (dropped on the way)",
		"127.0.0.2 reach: TCP 6443 cannot be reached from 127.0.0.3-127.0.0.4: nothing comes back (dropped on the way)",
		"127.0.0.4 reach: TCP 10250 cannot be reached from 127.0.0.2-127.0.0.3: refused (rejected on the way)",
	}
	if diff := cmp.Diff(want, checkProblems(t, r, "reach")); diff != "" {
		t.Error(diff)
	}
}

func TestDirectoryThatRunsNoProgramsIsNamed(t *testing.T) {
	if !apart(t) {
		return
	}
	if err := errors.Join(os.Mkdir("/var/lib/sealos", 0o755), unix.Mount("tmpfs", "/var/lib/sealos", "tmpfs", unix.MS_NOEXEC, "")); err != nil {
		t.Fatal(err)
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	want := []string{"127.0.0.2 noexec: programs are run from /var/lib/sealos/bin, but /var/lib/sealos is mounted noexec"}
	if diff := cmp.Diff(want, checkProblems(t, r, "noexec", "connect")); diff != "" {
		t.Error(diff)
	}
	if got := left(t); !slices.Equal(got, []string{"/var/lib/sealos"}) {
		t.Errorf("left behind: %q", got)
	}
}

func TestHostsBehindAJumpHostShareItsConnection(t *testing.T) {
	jump := hosttest.StartServer(t, hosttest.ServerConfig{Password: "right"})
	first, second := sshHost(t, "127.0.0.2", "right", true), sshHost(t, "127.0.0.3", "right", false)
	first.SSH.Jump, second.SSH.Jump = "127.0.0.1:"+strconv.Itoa(jump.Port), "127.0.0.1:"+strconv.Itoa(jump.Port)
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), first, second)
	for _, target := range r.Targets {
		h, err := r.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		target.Link = h
		var out strings.Builder
		if err := h.Run(t.Context(), host.Cmd{Argv: []string{"echo", "hello"}, Stdout: &out}); err != nil || out.String() != "hello\n" {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
	if jump.Connections() != 1 {
		t.Errorf("%d connections to the jump host", jump.Connections())
	}
	// An address of this machine's, behind a jump host, is another machine.
	here := newTargetHere(t)
	here.SSH.Jump = first.SSH.Jump
	if _, err := r.Dial(t.Context(), here); !errors.Is(err, host.ErrUnreachable) {
		t.Errorf("this machine was taken for the host behind the jump host: %v", err)
	}
}

// newTargetHere is this machine as a host. No ssh server listens on its port 1.
func newTargetHere(t *testing.T) *fleet.Target {
	t.Helper()
	own, ok := fleet.OwnAddress()
	if !ok {
		t.Skip("this machine has no address")
	}
	h := hostAt(own.String(), 1, true)
	h.SSH.User, h.SSH.Password = "root", "right"
	return &fleet.Target{Host: h}
}
