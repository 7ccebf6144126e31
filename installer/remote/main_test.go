package remote

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

func TestMain(m *testing.M) { agenttest.Main(m) }

// The agent is a process that a real sshd starts, and the host is this machine.
func TestACopyOverARealSSHD(t *testing.T) {
	s := newSite(t, 1, false)
	a := agenttest.OverSSHD(t)
	bring := func(_ context.Context, target *fleet.Target) error {
		target.Link, target.Agent = a.Host(), a
		return nil
	}
	dir, to := aDirectory(t), filepath.Join(t.TempDir(), "to")
	random(t, dir+"/large", 8<<20, 1)
	for range 2 {
		complete(t, Copy(t.Context(), s.Fleet, bring, source(t, dir), to))
		if diff := cmp.Diff(tree(t, dir), tree(t, to)); diff != "" {
			t.Fatal(diff)
		}
		if left := names(t, filepath.Dir(to)); !cmp.Equal(left, []string{"to"}) {
			t.Errorf("beside the copy there is %q", left)
		}
	}
}
