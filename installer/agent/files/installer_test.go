package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestInstallersThatNothingUsesGo(t *testing.T) {
	const dir = "/var/lib/sealos/bin/"
	const own, old, runs = dir + "sealinstall-000000000001", dir + "sealinstall-000000000002", dir + "sealinstall-000000000003"
	for name, c := range map[string]struct {
		use, idle, ownRuns bool
		changed, busy      bool
		want               map[string]string
	}{
		"used":                      {use: true, changed: true, want: map[string]string{"sealinstall": "own", "sealinstall-000000000001": "own"}},
		"left":                      {want: map[string]string{"sealinstall": "old", "sealinstall-000000000002": "old"}},
		"left, run by another":      {idle: true, ownRuns: true, busy: true, want: map[string]string{"sealinstall": "old", "sealinstall-000000000001": "own", "sealinstall-000000000002": "old"}},
		"left, though another runs": {ownRuns: true, busy: true, want: map[string]string{"sealinstall": "old", "sealinstall-000000000002": "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := filestest.Root(t)
			filestest.Write(t, filepath.Join(root, own), "own", 0o755)
			filestest.Write(t, filepath.Join(root, old), "old", 0o755)
			filestest.Write(t, filepath.Join(root, runs), "runs", 0o755)
			filestest.Write(t, filepath.Join(root, dir, "sealinstall"), "old", 0o755)
			filestest.Write(t, filepath.Join(root, dir, "sealinstall-mine"), "of an operator", 0o755)
			filestest.Write(t, filepath.Join(root, dir, ".sealinstall-young"), "half", 0o600)
			filestest.Write(t, filepath.Join(root, dir, ".sealinstall-cut"), "half", 0o600)
			long := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(root, dir, ".sealinstall-cut"), long, long); err != nil {
				t.Fatal(err)
			}
			c.want["sealinstall-mine"], c.want[".sealinstall-young"], c.want["sealinstall-000000000003"] = "of an operator", "half", "runs"
			process := func(pid, exe string) {
				dir := filepath.Join(root, "proc", pid)
				if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(exe, filepath.Join(dir, "exe"))); err != nil {
					t.Fatal(err)
				}
			}
			process("77", "/disk/bin/"+filepath.Base(runs)+" (deleted)") // replaced by a file of the same content, say
			if c.ownRuns {
				process("78", own)
			}
			a := (&agenttest.Machine{Root: root}).Agent(own)
			for range 2 { // the second call changes nothing
				var changed, busy bool
				var err error
				if c.use {
					changed, err = a.UseInstaller(t.Context(), dir+"sealinstall")
				} else {
					busy, err = a.LeaveInstaller(t.Context(), dir+"sealinstall", c.idle, dir[:len(dir)-1])
				}
				if err != nil || changed != c.changed || busy != c.busy {
					t.Fatalf("changed %v, busy %v, %v", changed, busy, err)
				}
				c.changed = false
				got := map[string]string{}
				entries, err := os.ReadDir(filepath.Join(root, dir))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					text, err := os.ReadFile(filepath.Join(root, dir, e.Name()))
					if err != nil {
						t.Fatal(err)
					}
					got[e.Name()] = string(text)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

func TestOnlyAVersionCanBePutIntoUse(t *testing.T) {
	a := (&agenttest.Machine{Root: filestest.Root(t)}).Agent("/usr/bin/anything")
	_, err := a.UseInstaller(t.Context(), "/var/lib/sealos/bin/sealinstall")
	var refused *agent.Error
	if !errors.As(err, &refused) || refused.Code != agent.CodeRefused {
		t.Errorf("the error is %v", err)
	}
}
