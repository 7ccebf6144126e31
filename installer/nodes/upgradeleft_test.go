package nodes

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/site"
)

// onOne is the room, and a host to work on; told is what the operator reads.
func onOne(t *testing.T) (n *Nodes, host *fleet.Target, on *agenttest.Machine, told *bytes.Buffer) {
	t.Helper()
	on, told = &agenttest.Machine{Root: filestest.Root(t)}, &bytes.Buffer{}
	n = &Nodes{Site: &site.Site{Fleet: &fleet.Fleet{Options: fleet.Options{Report: installer.NewReporter(told, told, false)}}}}
	return n, &fleet.Target{Host: installer.Host{IP: netip.MustParseAddr("10.0.0.1")}, Agent: on.Agent("stub")}, on, told
}

func TestKubeadmsCopiesGoByItsOwnNames(t *testing.T) {
	n, host, on, told := onOne(t)
	for _, name := range []string{ // as kubeadm 1.36 makes them, and as 1.30 did
		"kubeadm-backup-etcd-2026-11-30-14-47-16/etcd/member/snap/db", "kubeadm-backup-manifests-2026-11-30-14-47-16/etcd.yaml",
		"kubeadm-upgraded-manifests1234567890/etcd.yaml", "kubeadm-kubelet-config-2026-11-30-14-47-16/config.yaml",
		"kubeadm-kubelet-config987654321/config.yaml", "kubeadm-kubelet-env4711/kubeadm-flags.env",
		"kubeadm-init-dryrun42/etcd.yaml", "kubeadm-backup-etcd-mine/db", "etcd-by-hand.db",
	} {
		filestest.Write(t, on.Root+"/etc/kubernetes/tmp/"+name, "x", 0o600)
	}
	if err := n.ClearKubeadmCopies(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(on.Root + "/etc/kubernetes/tmp")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{"etcd-by-hand.db", "kubeadm-backup-etcd-mine", "kubeadm-init-dryrun42"}, left); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{"10.0.0.1: kubeadm's copies of what it replaced are removed from /etc/kubernetes/tmp: 6, of ", "stay: etcd-by-hand.db, kubeadm-backup-etcd-mine, kubeadm-init-dryrun42"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("it tells %q, and not %q", told, want)
		}
	}
}

func TestALinkOfTheSiteKeepsItsCopiesAndIsTold(t *testing.T) {
	n, host, on, told := onOne(t)
	filestest.Write(t, on.Root+"/large/kubeadm-backup-etcd-2026-11-30-14-47-16/db", "x", 0o600)
	filestest.Write(t, on.Root+"/etc/kubernetes/admin.conf", "x", 0o600)
	if err := os.Symlink(on.Root+"/large", on.Root+"/etc/kubernetes/tmp"); err != nil {
		t.Fatal(err)
	}
	if err := n.ClearKubeadmCopies(t.Context(), host); err != nil || !strings.Contains(told.String(), "it is a link") {
		t.Errorf("%v; told %q", err, told)
	}
	if _, err := os.Stat(on.Root + "/large/kubeadm-backup-etcd-2026-11-30-14-47-16/db"); err != nil {
		t.Error(err)
	}
}

func TestAManifestIsMissingThatWasKeptAndIsGoneOrEmpty(t *testing.T) {
	kept := map[string][]byte{"etcd.yaml": []byte("e"), "kube-apiserver.yaml": []byte("a"), "kube-scheduler.yaml": []byte("s"), "kube-controller-manager.yaml": []byte("c"), "custom.yaml": []byte("x")}
	there := map[string][]byte{"etcd.yaml": []byte("other"), "kube-scheduler.yaml": {}, "kube-controller-manager.yaml": make([]byte, 4096)}
	if diff := cmp.Diff([]string{"kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"}, MissingManifests(kept, there)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := MissingManifests(map[string][]byte{"custom.yaml": []byte("x")}, nil); len(got) > 0 {
		t.Errorf("of a worker: %v", got)
	}
}

func TestMissingManifestsArePutBackWhateverChangeKillsTheHost(t *testing.T) {
	kept := map[string][]byte{"etcd.yaml": []byte("old etcd"), "kube-apiserver.yaml": []byte("old apiserver"), "kube-scheduler.yaml": []byte("old scheduler")}
	for at := 0; ; at++ {
		n, host, on, _ := onOne(t)
		dir := on.Root + "/etc/kubernetes/manifests/"
		filestest.Write(t, dir+"etcd.yaml", "new etcd", 0o600)
		filestest.Write(t, dir+"kube-scheduler.yaml", "", 0o600)
		seen, died := 0, false
		on.Change = func(string, agenttest.Moment) error {
			if seen++; seen > at {
				died = true
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		names, err := n.PutBackManifests(t.Context(), host, kept)
		if died != (err != nil) {
			t.Fatalf("at change %d: %v", at, err)
		}
		if !died && !slices.Equal(names, []string{"kube-apiserver.yaml", "kube-scheduler.yaml"}) {
			t.Errorf("put back: %v", names)
		}
		on.Change = nil
		for name, whole := range kept { // none is half there
			if text, err := os.ReadFile(dir + name); err == nil && len(text) > 0 && name != "etcd.yaml" && !bytes.Equal(text, whole) {
				t.Errorf("at change %d: %s holds %q", at, name, text)
			}
		}
		if _, err := n.PutBackManifests(t.Context(), host, kept); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		files, err := filepath.Glob(dir + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got[filepath.Base(name)] = string(text)
		}
		if diff := cmp.Diff(map[string]string{"etcd.yaml": "new etcd", "kube-apiserver.yaml": "old apiserver", "kube-scheduler.yaml": "old scheduler"}, got); diff != "" {
			t.Errorf("at change %d (-want +got):\n%s", at, diff)
		}
		if !died {
			return
		}
	}
}
