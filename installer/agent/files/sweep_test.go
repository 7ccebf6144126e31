package files

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

const sweptDir = "/etc/kubernetes/tmp"

func sweep(t *testing.T, m Machine) (agent.SweepResult, error) {
	t.Helper()
	return m.Sweep(t.Context(), agent.SweepRequest{Dir: sweptDir, Known: []string{"kubeadm-backup-*"}})
}

func TestCopiesAreSweptAndNothingElse(t *testing.T) {
	m := At(filestest.Root(t))
	if res, err := sweep(t, m); err != nil || len(res.Removed)+len(res.Left) > 0 {
		t.Errorf("where nothing is: %+v, %v", res, err)
	}
	filestest.Write(t, m.Path("/precious/file"), "x", 0o600)
	for name, size := range map[string]int{
		"kubeadm-backup-etcd-1/etcd/member/snap/db": 1 << 20, "kubeadm-backup-etcd-2/etcd/db": 1 << 20, "kubeadm-backup-mounted/disk/x": 1,
		"kubeadm-init-dryrun1/etcd.yaml": 1, "my-kubeadm-backup-1/x": 1, "kubeadm-backup-file": 1, "notes.txt": 1,
	} {
		filestest.Write(t, m.Path(sweptDir+"/"+name), strings.Repeat("x", size), 0o600)
	}
	err := errors.Join(
		os.Symlink(m.Path("/precious"), m.Path(sweptDir+"/kubeadm-backup-link")),
		os.Symlink(m.Path("/precious"), m.Path(sweptDir+"/kubeadm-backup-etcd-1/link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, m.Path(mountsPath), "root / tmpfs rw 0 0\n/dev/vdb "+sweptDir+"/kubeadm-backup-mounted/disk ext4 rw 0 0\n", 0o600)
	want := agent.SweepResult{
		Removed: []string{"kubeadm-backup-etcd-1", "kubeadm-backup-etcd-2"},
		Left:    []string{"kubeadm-backup-file", "kubeadm-backup-link", "kubeadm-backup-mounted", "kubeadm-init-dryrun1", "my-kubeadm-backup-1", "notes.txt"},
	}
	if os.Geteuid() == 0 { // what is another user's
		filestest.Write(t, m.Path(sweptDir+"/kubeadm-backup-theirs/x"), "", 0o600)
		if err := os.Chown(m.Path(sweptDir+"/kubeadm-backup-theirs/x"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		want.Left = append(want.Left[:3], append([]string{"kubeadm-backup-theirs"}, want.Left[3:]...)...)
	}
	res, err := sweep(t, m)
	if err != nil {
		t.Fatal(err)
	}
	if res.Bytes < 2<<20 || res.Bytes > 3<<20 {
		t.Errorf("they took %d bytes", res.Bytes)
	}
	res.Bytes = 0
	if diff := cmp.Diff(want, res); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, gone := range want.Removed {
		if m.Exists(sweptDir + "/" + gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, left := range append(want.Left, "../../../precious/file", "kubeadm-backup-mounted/disk/x") {
		if !m.Exists(sweptDir + "/" + left) {
			t.Errorf("%s is gone", left)
		}
	}
	want.Removed = nil
	if res, err = sweep(t, m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Errorf("once more (-want +got):\n%s", diff)
	}
}

func TestALinkIsNotSweptThrough(t *testing.T) {
	m := At(filestest.Root(t))
	filestest.Write(t, m.Path("/precious/kubeadm-backup-etcd-1/db"), "x", 0o600)
	if err := errors.Join(os.MkdirAll(m.Path("/etc/kubernetes"), 0o755), os.Symlink(m.Path("/precious"), m.Path(sweptDir))); err != nil {
		t.Fatal(err)
	}
	if res, err := sweep(t, m); err == nil || !strings.Contains(err.Error(), "it is a link") || len(res.Removed) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if !m.Exists("/precious/kubeadm-backup-etcd-1/db") {
		t.Error("it was removed behind the link")
	}
}

func TestOddSweepsAreRefused(t *testing.T) {
	for _, dir := range []string{"/etc", "relative", "/proc/1", "/usr/bin", "/etc/kubernetes/../ssh"} {
		if _, err := At(filestest.Root(t)).Sweep(t.Context(), agent.SweepRequest{Dir: dir, Known: []string{"*"}}); err == nil {
			t.Errorf("%s was taken", dir)
		}
	}
	if _, err := At(filestest.Root(t)).Sweep(t.Context(), agent.SweepRequest{Dir: sweptDir, Known: []string{"a*", "b[-0]"}}); err == nil {
		t.Error("a pattern that matches nothing was taken")
	}
}
