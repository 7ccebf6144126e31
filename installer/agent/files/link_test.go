package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestLinksAreMadeOnceAndGiveWayWithoutBeingFollowed(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		dir := t.TempDir()
		theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "etc", "ours")
		filestest.Write(t, theirs, "the site's\n", 0o600)
		put := func(f agent.File, want ...string) {
			t.Helper()
			f.Path = ours
			changed, err := a.WriteFiles(t.Context(), []agent.File{f})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, changed); diff != "" && len(want)+len(changed) > 0 {
				t.Errorf("%+v: changed (-want +got):\n%s", f, diff)
			}
		}
		put(agent.File{Link: theirs}, ours)
		put(agent.File{Link: theirs})
		if to, err := os.Readlink(ours); err != nil || to != theirs {
			t.Errorf("%q, %v", to, err)
		}
		put(agent.File{Link: "/not/there"}, ours)
		put(agent.File{Link: theirs}, ours)
		put(agent.File{Own: true, Content: []byte("ours\n")}, ours)
		put(agent.File{Own: true, Content: []byte("ours\n")})
		if text, err := os.ReadFile(theirs); err != nil || string(text) != "the site's\n" {
			t.Errorf("the site's file became %q, %v", text, err)
		}
		if info, err := os.Lstat(ours); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%v, %v", info, err)
		}
		put(agent.File{Link: theirs}, ours)
		put(agent.File{Remove: true}, ours)
		if entries, err := os.ReadDir(filepath.Dir(ours)); err != nil || len(entries) > 0 {
			t.Errorf("left over: %v, %v", entries, err)
		}
		for _, bad := range []agent.File{{Path: dir, Link: theirs}, {Path: ours, Link: "relative"}} {
			if _, err := a.WriteFiles(t.Context(), []agent.File{bad}); err == nil {
				t.Errorf("%+v was made", bad)
			}
		}
	})
}
