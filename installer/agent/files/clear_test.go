package files

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestClearedDirectoriesStayTheLinksAndMountsThatTheSiteMadeOfThem(t *testing.T) {
	m := At(t.TempDir())
	filestest.Write(t, m.Path(mountsPath), strings.Join([]string{
		"/dev/vda / ext4 rw 0 0", "/dev/vdb /var/lib/mounted ext4 rw 0 0", "/dev/vdc /var/lib/plain/sub/disk ext4 rw 0 0", "/dev/vdd /data/target/disk ext4 rw 0 0", "",
	}, "\n"), 0o644)
	for _, name := range []string{
		"/var/lib/mounted/a", "/var/lib/mounted/lost+found/x", "/var/lib/plain/a", "/var/lib/plain/sub/b", "/var/lib/plain/sub/disk/theirs",
		"/var/lib/gone/a/b", "/data/target/a/b", "/data/target/disk/theirs", "/data/other",
	} {
		filestest.Write(t, m.Path(name), "x", 0o600)
	}
	if err := os.Symlink("../../data/target", m.Path("/var/lib/linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.Path("/data/other"), m.Path("/var/lib/gone/link")); err != nil {
		t.Fatal(err)
	}
	got, err := m.Clear(t.Context(), agent.ClearRequest{Paths: []string{"/var/lib/mounted", "/var/lib/linked", "/var/lib/plain", "/var/lib/gone", "/var/lib/none"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(agent.ClearResult{Kept: []string{"/data/target/disk", "/var/lib/plain/sub/disk"}}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	want := []string{"/var/lib/linked", "/var/lib/mounted/lost+found/x", "/var/lib/plain/sub/disk/theirs"}
	if diff := cmp.Diff(want, filestest.Below(t, m.Root, "/var/lib")); diff != "" {
		t.Errorf("/var/lib (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/data/other", "/data/target/disk/theirs"}, filestest.Below(t, m.Root, "/data")); diff != "" {
		t.Errorf("/data (-want +got):\n%s", diff)
	}
}

func TestClearingRefusesALinkIntoTheSystem(t *testing.T) {
	for _, target := range []string{"/data", "/var/lib", "/etc/ssh", "/home/user"} {
		m := At(t.TempDir())
		filestest.Write(t, m.Path(mountsPath), "", 0o644)
		filestest.Write(t, m.Path(target+"/kept"), "x", 0o600)
		filestest.Write(t, m.Path("/srv/first/kept"), "x", 0o600)
		filestest.Write(t, m.Path("/srv/x"), "x", 0o600)
		if err := os.Symlink(m.Path(target), m.Path("/srv/link")); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Clear(t.Context(), agent.ClearRequest{Paths: []string{"/srv/first", "/srv/link"}}, nil); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v", target, err)
		}
		if !m.Exists(target+"/kept") || !m.Exists("/srv/first/kept") {
			t.Errorf("%s: something was removed", target)
		}
	}
}

func TestVolumesOfPodsAreUnmountedAndDisksOfTheSiteAreNot(t *testing.T) {
	mounts := "/dev/vdb /var/lib/kubelet/pods ext4 rw 0 0\ntmpfs /var/lib/kubelet/pods/u/volumes/a\\040b tmpfs rw 0 0\n" +
		"nfs /var/lib/kubelet/plugins/csi/d/mount nfs rw 0 0\ntmpfs /var/lib/kubelet2/pods/u/v tmpfs rw 0 0\n"
	var ran []string
	m := At(t.TempDir())
	run := func(_ context.Context, argv ...string) (agent.ExecResult, error) {
		ran = append(ran, strings.Join(argv, " "))
		if strings.Contains(argv[len(argv)-1], "csi") && argv[1] != "--lazy" {
			return agent.ExecResult{Code: 32, Stderr: []byte("target is busy")}, nil
		}
		var left []string
		for l := range strings.Lines(m.Text(mountsPath)) {
			if unescape(strings.Fields(l)[1]) != argv[len(argv)-1] {
				left = append(left, l)
			}
		}
		filestest.Write(t, m.Path(mountsPath), strings.Join(left, ""), 0o644)
		return agent.ExecResult{}, nil
	}
	filestest.Write(t, m.Path(mountsPath), mounts, 0o644)
	for _, name := range []string{"/var/lib/kubelet/pods/kept", "/var/lib/kubelet/plugins/csi/d/mount/data", "/var/lib/kubelet/config.yaml"} {
		filestest.Write(t, m.Path(name), "x", 0o600)
	}
	got, err := m.Clear(t.Context(), agent.ClearRequest{Paths: []string{"/var/lib/kubelet"}, Volumes: true}, run)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"umount /var/lib/kubelet/plugins/csi/d/mount", "umount --lazy /var/lib/kubelet/plugins/csi/d/mount", "umount /var/lib/kubelet/pods/u/volumes/a b"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(agent.ClearResult{Kept: []string{"/var/lib/kubelet/pods"}}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/var/lib/kubelet/pods/kept"}, filestest.Below(t, m.Root, "/var/lib/kubelet")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestTidyingRemovesWhatIsKnownAndNamesTheRest(t *testing.T) {
	m := At(t.TempDir())
	for _, name := range []string{
		"/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/admin.conf", "/etc/kubernetes/tmp/kubeadm-init-1/x", "/etc/kubernetes/tmp/own",
		"/etc/kubernetes/pki/etcd/.sealinstall-ca.key.17", "/etc/kubernetes/.sealinstall-admin.conf.5", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/encryption.yaml",
	} {
		filestest.Write(t, m.Path(name), "x", 0o600)
	}
	for _, dir := range []string{"/etc/kubernetes/policies", "/srv/pki"} {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	living, err := durable.Create(m.Path("/etc/kubernetes/scheduler.conf"), tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	got, err := m.Tidy(t.Context(), agent.TidyRequest{Dir: "/etc/kubernetes", Known: []string{"pki/ca.crt", "pki/etcd/ca.key", "admin.conf", "tmp/kubeadm-*", "manifests/etcd.yaml", "none/none"}})
	if err != nil {
		t.Fatal(err)
	}
	left := []string{strings.TrimPrefix(living.Name(), m.Root), "/etc/kubernetes/encryption.yaml", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/tmp/own"}
	if diff := cmp.Diff(agent.TidyResult{Left: left}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(left), "/etc/kubernetes/policies/")))
	if diff := cmp.Diff(want, filestest.Below(t, m.Root, "/etc/kubernetes")); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	for _, known := range []string{"../ssh", "..", "/../x", "."} {
		if _, err := m.Tidy(t.Context(), agent.TidyRequest{Dir: "/etc/kubernetes", Known: []string{known}}); err == nil {
			t.Errorf("%q was taken", known)
		}
	}
}

func TestTidyingKeepsLinksToDirectories(t *testing.T) {
	m := At(t.TempDir())
	filestest.Write(t, m.Path("/secure/pki/ca.key"), "x", 0o600)
	filestest.Write(t, m.Path("/etc/kubernetes/admin.conf"), "x", 0o600)
	if err := os.Symlink(m.Path("/secure/pki"), m.Path("/etc/kubernetes/pki")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Tidy(t.Context(), agent.TidyRequest{Dir: "/etc/kubernetes", Known: []string{"pki/ca.key", "admin.conf"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/etc/kubernetes/pki", "/secure/pki/"}, append(filestest.Below(t, m.Root, "/etc/kubernetes"), filestest.Below(t, m.Root, "/secure")...)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
