package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestSystemPathsAreNotRemoved(t *testing.T) {
	for _, p := range []string{
		"", "/", "relative", "/etc", "/var", "/usr", "/root", "/home", "/opt", "/srv", "/tmp", "/etc/../etc/kubernetes", "/etc/kubernetes/", "//etc/x",
		"/usr/bin", "/usr/local/bin", "/var/lib", "/var/log", "/etc/ssh", "/etc/systemd/system", "/home/user", "/root/.ssh",
		"/proc/1", "/sys/fs/cgroup", "/dev/sda", "/boot/grub/grub.cfg", "/var/lib/systemd", "/run/systemd", "/etc/passwd", "/lib/modules",
	} {
		m := At(t.TempDir())
		filestest.Write(t, m.Path(mountsPath), "", 0o644)
		if p != "" && filepath.IsAbs(p) {
			filestest.Write(t, filepath.Join(m.Path(p), "kept"), "", 0o644)
		}
		if err := m.Remove(t.Context(), agent.RemoveRequest{Paths: []string{"/etc/kubernetes", p}}); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func TestClustersPathsAreRemoved(t *testing.T) {
	m := At(t.TempDir())
	filestest.Write(t, m.Path(mountsPath), "/dev/vda / ext4 rw 0 0\ntmpfs /var/lib/kubelet2 tmpfs rw 0 0\n", 0o644)
	paths := []string{"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/usr/bin/kubeadm", "/etc/systemd/system/kubelet.service", "/opt/cni", "/root/.kube", "/var/lib/sealos/data/default"}
	for _, p := range paths {
		filestest.Write(t, filepath.Join(m.Path(p), "sub/file"), "x", 0o600)
	}
	target := filepath.Join(m.Root, "precious")
	filestest.Write(t, filepath.Join(target, "file"), "x", 0o600)
	if err := os.Symlink(target, m.Path("/etc/kubernetes/sub/link")); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(t.Context(), agent.RemoveRequest{Paths: append(paths, "/var/lib/none", "/var/lib/none/below")}); err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if m.Exists(p) {
			t.Errorf("%s is still there", p)
		}
	}
	if _, err := os.Stat(filepath.Join(target, "file")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestMountsAreNotRemoved(t *testing.T) {
	m := At(t.TempDir())
	filestest.Write(t, m.Path(mountsPath), "/dev/vdb /var/lib/etcd ext4 rw 0 0\ntmpfs /var/lib/kubelet/pods/a\\040b tmpfs rw 0 0\n", 0o644)
	for _, p := range []string{"/var/lib/etcd", "/var/lib/kubelet", "/var/lib/kubelet/pods", "/link/kubelet"} {
		filestest.Write(t, filepath.Join(m.Path("/var/lib/other"), "kept"), "", 0o600)
		filestest.Write(t, filepath.Join(m.Path("/var/lib/kubelet"), "kept"), "", 0o600)
		filestest.Write(t, filepath.Join(m.Path("/var/lib/etcd"), "kept"), "", 0o600)
		os.Symlink(m.Path("/var/lib"), m.Path("/link"))
		err := m.Remove(t.Context(), agent.RemoveRequest{Paths: []string{"/var/lib/other", p}})
		if err == nil || !strings.Contains(err.Error(), "mounted") {
			t.Errorf("%s: %v", p, err)
		}
		if !m.Exists("/var/lib/other/kept") {
			t.Error("something was removed before all was checked")
		}
	}
}
