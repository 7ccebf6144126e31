package fleet

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Each run brings its stub to the hosts under a name that tells its version, and calls it by that name. Units and scripts use
// installer.StubPath. Once a run begins to change hosts, it puts its own version there. A run that is refused before leaves the
// version in use as it is, and takes its own away.

// bringStub brings this run's stub to a host, unless it is there.
func (f *Fleet) bringStub(ctx context.Context, t *Target) error {
	stub, err := f.Payload.Stub(t.Arch)
	if err != nil {
		return err
	}
	t.putStub = t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-e", stub.Path}, Root: true}) != nil
	if t.putStub {
		if err := runsNothing(ctx, t); err != nil {
			return err
		}
	}
	t.Stub, t.Agent = stub.Path, agent.NewAgent(t.Link, stub.Path)
	t.Journal.Open(f.Cluster, t.Agent)
	work := f.Report.Does(t.IP.String(), "gets the installer", 0)
	err = t.Link.Put(ctx, stub.Path, 0o755, bytes.NewReader(stub.Data))
	work.End(err)
	if err != nil {
		return fmt.Errorf("bring the installer to %s: %w", stub.Path, err)
	}
	return nil
}

// findMount finds the file system of $0, or of the first directory above it that exists, and its mount options.
const findMount = `dir=$0; while [ ! -d "$dir" ]; do dir=$(dirname -- "$dir"); done
exec findmnt --noheadings --output TARGET,OPTIONS --target "$dir"`

// runsNothing refuses a host on which no program can be run where the stub will lie, before the stub is brought. If the
// host cannot be asked, it is not refused.
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

// UseStubs makes this run's stub the one that units and scripts use on every host. It gives the number of hosts where they
// used another one before.
func (f *Fleet) UseStubs(ctx context.Context) (int, error) {
	return f.Count(ctx, f.Targets, func(ctx context.Context, t *Target) (changes int, err error) {
		changed, err := t.Agent.UseInstaller(ctx, installer.StubPath)
		if changed {
			changes = 1
		}
		t.stubUsed = err == nil
		return changes, err
	})
}

// Withdraw removes from hosts what this run brought and nothing uses, and what killed runs left. Called again it does
// nothing. Where another installer is at work, which may have brought the same version, the agent is asked first whether
// that one uses it.
func (f *Fleet) Withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ConnectTimeout)
	defer cancel()
	left := Only(f.All(), func(t *Target) bool {
		return t.Link != nil && t.Stub != "" && !t.stubUsed && !t.left && (t.putStub || !f.held)
	})
	if !f.held {
		return Each(ctx, left, f.Jobs, f.withdrawFrom)
	}
	// The other installer holds the locks by processes of its version on the masters, so these tell whether it uses this one.
	masters := Only(left, func(t *Target) bool { return t.Master })
	if len(masters) < len(Only(f.All(), func(t *Target) bool { return t.Master })) {
		return nil // this version was on a master before: it may be the other installer's
	}
	err := Each(ctx, masters, f.Jobs, f.withdrawFrom)
	if err != nil || slices.ContainsFunc(masters, func(t *Target) bool { return t.Stub != "" }) {
		return err
	}
	return Each(ctx, Only(left, func(t *Target) bool { return !t.Master }), f.Jobs, f.withdrawFrom)
}

func (f *Fleet) withdrawFrom(ctx context.Context, t *Target) error {
	t.left = true // a host that does not answer now is not asked again: the next run takes the stub away
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
		return fmt.Errorf("take the installer away: %w", failed) // a reset is not over while a stub lies there
	}
	if !t.putStub {
		return nil // it was there before this run: the next run that reaches the host decides
	}
	// The stub was not brought in full, or does not run there. rmdir keeps directories that hold files of others.
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
