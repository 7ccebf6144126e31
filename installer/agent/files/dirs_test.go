package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestDirectoriesAreToldWithWhatTheyHold(t *testing.T) {
	m := At(t.TempDir())
	filestest.Write(t, m.Path(mountsPath), "/dev/vda / ext4 rw 0 0\n/dev/vdb /disk ext4 rw 0 0\n/dev/vdc /full ext4 rw 0 0\n", 0o644)
	for _, dir := range []string{"/empty", "/disk/lost+found", "/full/lost+found", "/looks/lost+found"} {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	filestest.Write(t, m.Path("/file"), "x", 0o600)
	filestest.Write(t, m.Path("/full/snapshot.db"), "x", 0o600)
	filestest.Write(t, m.Path("/hidden/.snapshot"), "x", 0o600)
	for name, target := range map[string]string{"/link": m.Path("/disk"), "/dangling": "nowhere", "/tofile": m.Path("/file")} {
		if err := os.Symlink(target, m.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]agent.Dir{
		"/absent":   {},
		"/file":     {Exists: true, NotDir: true},
		"/file/in":  {NotDir: true},
		"/empty":    {Exists: true},
		"/disk":     {Exists: true, Mount: true, Entries: []string{agent.LostFound}},
		"/full":     {Exists: true, Mount: true, Entries: []string{agent.LostFound, "snapshot.db"}},
		"/looks":    {Exists: true, Entries: []string{agent.LostFound}},
		"/hidden":   {Exists: true, Entries: []string{".snapshot"}},
		"/link":     {Exists: true, Link: true, Mount: true, Entries: []string{agent.LostFound}},
		"/dangling": {Exists: true, Link: true, NotDir: true},
		"/tofile":   {Exists: true, Link: true, NotDir: true},
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	got := m.Dirs(append(names, "relative", "/up/../etc"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, fresh := range map[string]bool{"/disk": true, "/link": true, "/full": false, "/looks": false, "/empty": false} {
		if got[name].Fresh() != fresh {
			t.Errorf("%s is fresh: %v", name, got[name].Fresh())
		}
	}
	if diff := cmp.Diff([]string{"snapshot.db"}, got["/full"].Holds()); diff != "" {
		t.Errorf("/full holds:\n%s", diff)
	}
	if held := got["/looks"].Holds(); len(held) != 1 {
		t.Errorf("lost+found in no mount point counts for nothing: %v", held)
	}
	if _, err := m.LookAtDirs(t.Context(), agent.DirsRequest{Dirs: []string{filepath.Join("etc", "x")}}); err == nil {
		t.Error("a relative path was taken")
	}
}
