package fleet

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// What runs on hosts is brought by each run under a name of its own version, and used by that run under that name. Units
// and scripts know installer.StubPath only, which a run makes its own version once it has begun to change hosts. A run that goes no
// further leaves what is in use as it is, and nothing of its own.

// bringStub brings a host the installer of this run, unless it is there.
func (f *Fleet) bringStub(ctx context.Context, t *Target) error {
	stub, err := f.Payload.Stub(t.Arch)
	if err != nil {
		return err
	}
	exists := t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-e", stub.Path}, Root: true}) == nil
	if !exists {
		if err := runsNothing(ctx, t); err != nil {
			return err
		}
	}
	t.Stub, t.Agent = stub.Path, agent.NewAgent(t.Link, stub.Path)
	t.Journal.Open(f.Cluster, t.Agent)
	t.putStub = !exists // even if it fails: then its directories may be there
	if err := t.Link.Put(ctx, stub.Path, 0o755, bytes.NewReader(stub.Data)); err != nil {
		return fmt.Errorf("bring the installer to %s: %w", stub.Path, err)
	}
	return nil
}

// findMount tells what the first directory that exists of $0 and those above it lies on, and how that is mounted.
const findMount = `dir=$0; while [ ! -d "$dir" ]; do dir=$(dirname -- "$dir"); done
exec findmnt --noheadings --output TARGET,OPTIONS --target "$dir"`

// runsNothing finds out whether programs can be run where the stub will lie, before it is brought. A host that cannot
// tell is left to show.
func runsNothing(ctx context.Context, t *Target) error {
	var out strings.Builder
	if t.Link.Run(ctx, host.Cmd{Argv: []string{"/bin/sh", "-c", findMount, path.Dir(installer.StubPath)}, Stdout: &out}) != nil {
		return nil
	}
	mount := strings.Fields(out.String())
	if len(mount) != 2 || !slices.Contains(strings.Split(mount[1], ","), "noexec") {
		return nil
	}
	return &preflight.Found{
		Check: "noexec", Message: fmt.Sprintf("programs are run from %s, but %s is mounted noexec", path.Dir(installer.StubPath), mount[0]),
		Remedy: "mount -o remount,exec " + mount[0] + ", and take noexec out of /etc/fstab",
	}
}

// UseStubs makes the installer of this run the one that units and scripts of every host use, and tells on how many another
// one was in use.
func (f *Fleet) UseStubs(ctx context.Context) (int, error) {
	var changes atomic.Int64
	err := f.Each(ctx, f.Targets, func(ctx context.Context, t *Target) error {
		changed, err := t.Agent.UseInstaller(ctx, installer.StubPath)
		if changed {
			changes.Add(1)
		}
		t.stubUsed = err == nil
		return err
	})
	return int(changes.Load()), err
}

// Withdraw removes what this run brought to hosts and what is not used there, with what runs left that were killed. Called
// again it does nothing. Where another installer is at work, which may have brought the same, it is asked first whether it did.
func (f *Fleet) Withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ConnectTimeout)
	defer cancel()
	left := slices.DeleteFunc(slices.Clone(f.Targets), func(t *Target) bool {
		return t.Link == nil || t.Stub == "" || t.stubUsed || t.left || f.held && !t.putStub
	})
	if !f.held {
		return Each(ctx, left, f.Jobs, f.withdrawFrom)
	}
	// It holds the locks of masters by processes of its own version.
	var masters, nodes []*Target
	for _, t := range left {
		if t.Master {
			masters = append(masters, t)
		} else {
			nodes = append(nodes, t)
		}
	}
	if len(masters) < len(f.Masters()) {
		return nil // on one the version was there before: it may be the other's
	}
	err := Each(ctx, masters, f.Jobs, f.withdrawFrom)
	if err != nil || slices.ContainsFunc(masters, func(t *Target) bool { return t.Stub != "" }) {
		return err
	}
	return Each(ctx, nodes, f.Jobs, f.withdrawFrom)
}

func (f *Fleet) withdrawFrom(ctx context.Context, t *Target) error {
	t.left = true // a host that does not answer now is not asked again: the next run does it
	var dirs []string
	if !t.Begun() {
		dirs = []string{path.Dir(installer.StubPath), installer.Dir(f.Cluster, "journal"), installer.Dir(f.Cluster), installer.DataRoot + "/data", installer.DataRoot}
	}
	var failed error
	if t.Connected {
		busy, err := t.Agent.LeaveInstaller(ctx, installer.StubPath, f.held, dirs...)
		if err == nil {
			if !busy || !f.held {
				t.Stub = ""
			}
			return nil
		}
		failed = err
	}
	if !t.putStub && failed != nil && !t.Begun() {
		return fmt.Errorf("take the installer away: %w", failed) // a reset is not over while something of it lies there
	}
	if !t.putStub {
		return nil // it was there before, and the next run that can look decides
	}
	// It was not brought in full, or does not run there. rmdir keeps what is not empty, which is not ours to remove.
	script := "rm -f " + host.Quote(t.Stub) + "; true"
	if len(dirs) > 0 {
		script = "rm -f " + host.Quote(t.Stub) + "; rmdir " + host.Quote(dirs...) + " 2>/dev/null; true"
	}
	if err := t.Link.Run(ctx, host.Cmd{Argv: []string{"/bin/sh", "-c", script}, Root: true}); err != nil {
		return fmt.Errorf("take %s away again: %w", t.Stub, err)
	}
	t.Stub = ""
	return nil
}
