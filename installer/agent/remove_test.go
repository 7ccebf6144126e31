package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSystemPathsAreNotRemoved(t *testing.T) {
	for _, p := range []string{
		"", "/", "relative", "/etc", "/var", "/usr", "/root", "/home", "/opt", "/srv", "/tmp", "/etc/../etc/kubernetes", "/etc/kubernetes/", "//etc/x",
		"/usr/bin", "/usr/local/bin", "/var/lib", "/var/log", "/etc/ssh", "/etc/systemd/system", "/home/user", "/root/.ssh",
		"/proc/1", "/sys/fs/cgroup", "/dev/sda", "/boot/grub/grub.cfg", "/var/lib/systemd", "/run/systemd", "/etc/passwd", "/lib/modules",
	} {
		m := machine{root: t.TempDir()}
		write(t, m.path(mountsPath), "", 0o644)
		if p != "" && filepath.IsAbs(p) {
			write(t, filepath.Join(m.path(p), "kept"), "", 0o644)
		}
		if _, err := m.remove(t.Context(), removeRequest{[]string{"/etc/kubernetes", p}}, nil); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func TestClustersPathsAreRemoved(t *testing.T) {
	m := machine{root: t.TempDir()}
	write(t, m.path(mountsPath), "/dev/vda / ext4 rw 0 0\ntmpfs /var/lib/kubelet2 tmpfs rw 0 0\n", 0o644)
	paths := []string{"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/usr/bin/kubeadm", "/etc/systemd/system/kubelet.service", "/opt/cni", "/root/.kube", "/var/lib/sealos/data/default"}
	for _, p := range paths {
		write(t, filepath.Join(m.path(p), "sub/file"), "x", 0o600)
	}
	target := filepath.Join(m.root, "precious")
	write(t, filepath.Join(target, "file"), "x", 0o600)
	if err := os.Symlink(target, m.path("/etc/kubernetes/sub/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.remove(t.Context(), removeRequest{append(paths, "/var/lib/none", "/var/lib/none/below")}, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if m.exists(p) {
			t.Errorf("%s is still there", p)
		}
	}
	if _, err := os.Stat(filepath.Join(target, "file")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestMountsAreNotRemoved(t *testing.T) {
	m := machine{root: t.TempDir()}
	write(t, m.path(mountsPath), "/dev/vdb /var/lib/etcd ext4 rw 0 0\ntmpfs /var/lib/kubelet/pods/a\\040b tmpfs rw 0 0\n", 0o644)
	for _, p := range []string{"/var/lib/etcd", "/var/lib/kubelet", "/var/lib/kubelet/pods", "/link/kubelet"} {
		write(t, filepath.Join(m.path("/var/lib/other"), "kept"), "", 0o600)
		write(t, filepath.Join(m.path("/var/lib/kubelet"), "kept"), "", 0o600)
		write(t, filepath.Join(m.path("/var/lib/etcd"), "kept"), "", 0o600)
		os.Symlink(m.path("/var/lib"), m.path("/link"))
		_, err := m.remove(t.Context(), removeRequest{[]string{"/var/lib/other", p}}, nil)
		if err == nil || !strings.Contains(err.Error(), "mounted") {
			t.Errorf("%s: %v", p, err)
		}
		if !m.exists("/var/lib/other/kept") {
			t.Error("something was removed before all was checked")
		}
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
	write(t, filepath.Join(dir, "kept"), "", 0o600)
	a := localAgent(t)
	if err := a.Remove(t.Context(), []string{filepath.Join(base, "dir")}); err == nil {
		t.Error("it was taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Error(err)
	}
}
