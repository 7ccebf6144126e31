package programs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestAProgramFindsHiddenDirectoriesEmptyAndCannotHarmThem(t *testing.T) {
	base := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespaces here: %v: %s", err, out)
	}
	dir, link, none := filepath.Join(base, "dir"), filepath.Join(base, "link"), filepath.Join(base, "none")
	for _, name := range []string{"dir/etcd.yaml", "dir/own.yaml", "target/a", "target/disk/x"} {
		filestest.Write(t, filepath.Join(base, name), "text of "+name+"\n", 0o600)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(base, "target/a disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", disk, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	filestest.Write(t, filepath.Join(disk, "kept"), "x", 0o600)
	shown := filepath.Join(dir, "etcd.yaml")
	const program = `find "$1" "$2/" -mindepth 1; cat "$3"; grep -c " $1/\| ${2%link}target/" /proc/self/mounts; rm -rf -- "$1"/* "$2"/*; exit 3`
	res, err := agenttest.Local(t).Exec(t.Context(), agent.ExecRequest{
		Argv: []string{"sh", "-c", program, "sh", dir, link, shown}, Hide: []string{dir, link, none}, Show: []string{shown, filepath.Join(dir, "none")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 3 {
		t.Errorf("it ended with %d: %s", res.Code, res.Stderr)
	}
	if diff := cmp.Diff(shown+"\ntext of dir/etcd.yaml\n0\n", string(res.Stdout)); diff != "" {
		t.Errorf("what it saw (-want +got):\n%s", diff)
	}
	want := []string{"/dir/etcd.yaml", "/dir/own.yaml", "/link", "/target/a", "/target/a disk/kept", "/target/disk/x"}
	if diff := cmp.Diff(want, filestest.Below(t, base, "")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if table, err := os.ReadFile("/proc/self/mounts"); err != nil || !strings.Contains(string(table), "a\\040disk") {
		t.Errorf("the disk is unmounted: %v", err)
	}
}
