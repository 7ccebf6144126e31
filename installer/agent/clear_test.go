package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// below lists files, links and empty directories of a machine below a directory, sorted.
func below(t *testing.T, m machine, dir string) []string {
	t.Helper()
	out := []string{}
	err := filepath.WalkDir(m.path(dir), func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if entries, err := os.ReadDir(name); err != nil || len(entries) > 0 {
				return err
			}
			name += "/"
		}
		out = append(out, strings.TrimPrefix(name, m.root))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClearedDirectoriesStayTheLinksAndMountsThatTheSiteMadeOfThem(t *testing.T) {
	m := machine{root: t.TempDir()}
	write(t, m.path(mountsPath), strings.Join([]string{
		"/dev/vda / ext4 rw 0 0", "/dev/vdb /var/lib/mounted ext4 rw 0 0", "/dev/vdc /var/lib/plain/sub/disk ext4 rw 0 0", "/dev/vdd /data/target/disk ext4 rw 0 0", "",
	}, "\n"), 0o644)
	for _, name := range []string{
		"/var/lib/mounted/a", "/var/lib/mounted/lost+found/x", "/var/lib/plain/a", "/var/lib/plain/sub/b", "/var/lib/plain/sub/disk/theirs",
		"/var/lib/gone/a/b", "/data/target/a/b", "/data/target/disk/theirs", "/data/other",
	} {
		write(t, m.path(name), "x", 0o600)
	}
	if err := os.Symlink("../../data/target", m.path("/var/lib/linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.path("/data/other"), m.path("/var/lib/gone/link")); err != nil {
		t.Fatal(err)
	}
	got, err := m.clearDirs(t.Context(), ClearRequest{Paths: []string{"/var/lib/mounted", "/var/lib/linked", "/var/lib/plain", "/var/lib/gone", "/var/lib/none"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clearResult{Kept: []string{"/data/target/disk", "/var/lib/plain/sub/disk"}}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	want := []string{"/var/lib/linked", "/var/lib/mounted/lost+found/x", "/var/lib/plain/sub/disk/theirs"}
	if diff := cmp.Diff(want, below(t, m, "/var/lib")); diff != "" {
		t.Errorf("/var/lib (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/data/other", "/data/target/disk/theirs"}, below(t, m, "/data")); diff != "" {
		t.Errorf("/data (-want +got):\n%s", diff)
	}
}

func TestClearingRefusesALinkIntoTheSystem(t *testing.T) {
	for _, target := range []string{"/data", "/var/lib", "/etc/ssh", "/home/user"} {
		m := machine{root: t.TempDir()}
		write(t, m.path(mountsPath), "", 0o644)
		write(t, m.path(target+"/kept"), "x", 0o600)
		write(t, m.path("/srv/first/kept"), "x", 0o600)
		write(t, m.path("/srv/x"), "x", 0o600)
		if err := os.Symlink(m.path(target), m.path("/srv/link")); err != nil {
			t.Fatal(err)
		}
		if _, err := m.clearDirs(t.Context(), ClearRequest{Paths: []string{"/srv/first", "/srv/link"}}, nil); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v", target, err)
		}
		if !m.exists(target+"/kept") || !m.exists("/srv/first/kept") {
			t.Errorf("%s: something was removed", target)
		}
	}
}

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
		write(t, filepath.Join(base, name), "x", 0o600)
	}
	if _, err := localAgent(t).Clear(t.Context(), ClearRequest{Paths: []string{disk, link}, Keep: []string{"seccomp"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/disk/", "/link", "/target/seccomp/own.json"}, below(t, machine{root: base}, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("it is no mount any more: %v", err)
	}
}

// programs is a machine on which programs do what a test says.
func programs(t *testing.T, do func(m machine, argv []string) ExecResult) machine {
	t.Helper()
	m := machine{root: t.TempDir(), sim: &Simulation{}}
	m.sim.Exec = func(_ context.Context, q ExecRequest) (ExecResult, error) { return do(m, q.Argv), nil }
	return m
}

func TestVolumesOfPodsAreUnmountedAndDisksOfTheSiteAreNot(t *testing.T) {
	mounts := "/dev/vdb /var/lib/kubelet/pods ext4 rw 0 0\ntmpfs /var/lib/kubelet/pods/u/volumes/a\\040b tmpfs rw 0 0\n" +
		"nfs /var/lib/kubelet/plugins/csi/d/mount nfs rw 0 0\ntmpfs /var/lib/kubelet2/pods/u/v tmpfs rw 0 0\n"
	var ran []string
	m := programs(t, func(m machine, argv []string) ExecResult {
		ran = append(ran, strings.Join(argv, " "))
		if strings.Contains(argv[len(argv)-1], "csi") && argv[1] != "--lazy" {
			return ExecResult{Code: 32, Stderr: []byte("target is busy")}
		}
		var left []string
		for l := range strings.Lines(m.text(mountsPath)) {
			if unescape(strings.Fields(l)[1]) != argv[len(argv)-1] {
				left = append(left, l)
			}
		}
		write(t, m.path(mountsPath), strings.Join(left, ""), 0o644)
		return ExecResult{}
	})
	write(t, m.path(mountsPath), mounts, 0o644)
	for _, name := range []string{"/var/lib/kubelet/pods/kept", "/var/lib/kubelet/plugins/csi/d/mount/data", "/var/lib/kubelet/config.yaml"} {
		write(t, m.path(name), "x", 0o600)
	}
	got, err := m.clearDirs(t.Context(), ClearRequest{Paths: []string{"/var/lib/kubelet"}, Volumes: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"umount /var/lib/kubelet/plugins/csi/d/mount", "umount --lazy /var/lib/kubelet/plugins/csi/d/mount", "umount /var/lib/kubelet/pods/u/volumes/a b"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(clearResult{Kept: []string{"/var/lib/kubelet/pods"}}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/var/lib/kubelet/pods/kept"}, below(t, m, "/var/lib/kubelet")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestTidyingRemovesWhatIsKnownAndNamesTheRest(t *testing.T) {
	m := machine{root: t.TempDir()}
	for _, name := range []string{
		"/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/admin.conf", "/etc/kubernetes/tmp/kubeadm-init-1/x", "/etc/kubernetes/tmp/own",
		"/etc/kubernetes/pki/etcd/.sealinstall-ca.key.17", "/etc/kubernetes/.sealinstall-admin.conf.5", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/encryption.yaml",
	} {
		write(t, m.path(name), "x", 0o600)
	}
	for _, dir := range []string{"/etc/kubernetes/policies", "/srv/pki"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	living, err := durable.Create(m.path("/etc/kubernetes/scheduler.conf"), tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	got, err := m.tidy(t.Context(), TidyRequest{Dir: "/etc/kubernetes", Known: []string{"pki/ca.crt", "pki/etcd/ca.key", "admin.conf", "tmp/kubeadm-*", "manifests/etcd.yaml", "none/none"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := []string{strings.TrimPrefix(living.Name(), m.root), "/etc/kubernetes/encryption.yaml", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/tmp/own"}
	if diff := cmp.Diff(tidyResult{Left: left}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(left), "/etc/kubernetes/policies/")))
	if diff := cmp.Diff(want, below(t, m, "/etc/kubernetes")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	for _, known := range []string{"../ssh", "..", "/../x", "."} {
		if _, err := m.tidy(t.Context(), TidyRequest{Dir: "/etc/kubernetes", Known: []string{known}}, nil); err == nil {
			t.Errorf("%q was taken", known)
		}
	}
}

func TestTidyingKeepsLinksToDirectories(t *testing.T) {
	m := machine{root: t.TempDir()}
	write(t, m.path("/secure/pki/ca.key"), "x", 0o600)
	write(t, m.path("/etc/kubernetes/admin.conf"), "x", 0o600)
	if err := os.Symlink(m.path("/secure/pki"), m.path("/etc/kubernetes/pki")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.tidy(t.Context(), TidyRequest{Dir: "/etc/kubernetes", Known: []string{"pki/ca.key", "admin.conf"}}, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/etc/kubernetes/pki", "/secure/pki/"}, append(below(t, m, "/etc/kubernetes"), below(t, m, "/secure")...)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
