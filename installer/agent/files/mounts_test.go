package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestClearingRealMountsAndLinks(t *testing.T) {
	base := t.TempDir()
	disk, link := filepath.Join(base, "disk"), filepath.Join(base, "link")
	for _, dir := range []string{disk, filepath.Join(base, "target")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("none", disk, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk/a/b", "target/a/b", "target/seccomp/own.json"} {
		filestest.Write(t, filepath.Join(base, name), "x", 0o600)
	}
	if _, err := agenttest.Local(t).Clear(t.Context(), agent.ClearRequest{Paths: []string{disk, link}, Keep: []string{"seccomp"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/disk/", "/link", "/target/seccomp/own.json"}, filestest.Below(t, base, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("it is no mount any more: %v", err)
	}
}

func TestRealMountIsNotRemoved(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "dir", "mount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	filestest.Write(t, filepath.Join(dir, "kept"), "", 0o600)
	a := agenttest.Local(t)
	if err := a.Remove(t.Context(), []string{filepath.Join(base, "dir")}); err == nil {
		t.Error("it was taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Error(err)
	}
}
