package upgrade

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/site"
)

func TestManifestsThatAreGoneOrEmptyArePutBackWhateverChangeKillsTheHost(t *testing.T) {
	u := keeper{&site.Site{Fleet: &fleet.Fleet{}, Cluster: &installer.Cluster{Name: "default"}}}
	for at := 0; ; at++ {
		on := &agenttest.Machine{Root: filestest.Root(t)}
		host := &fleet.Target{Host: installer.Host{IP: netip.MustParseAddr("10.0.0.1"), Master: true}, Agent: on.Agent("stub")}
		for _, c := range components() {
			filestest.Write(t, on.Root+u.kept(manifest(c)), "old "+c, 0o600)
		}
		filestest.Write(t, on.Root+manifest("etcd"), "new etcd", 0o600)
		filestest.Write(t, on.Root+manifest("kube-apiserver"), "", 0o600)                               // ext4 after a power cut
		filestest.Write(t, on.Root+manifest("kube-scheduler"), string(make([]byte, 4096)), 0o600)       // XFS
		filestest.Write(t, on.Root+u.kept("/etc/kubernetes/admin.conf"), "of the administrator", 0o600) // no manifest
		seen, died := 0, false
		on.Change = func(string, agenttest.Moment) error {
			if seen++; seen > at {
				died = true
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		if err := u.mendManifests(t.Context(), host); died != (err != nil) {
			t.Fatalf("at change %d: %v", at, err)
		}
		on.Change = nil
		if err := u.mendManifests(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range filestest.Below(t, on.Root, installer.KubeDir) {
			text, err := os.ReadFile(on.Root + name)
			if err != nil {
				t.Fatal(err)
			}
			got[filepath.Base(name)] = string(text)
		}
		want := map[string]string{
			"etcd.yaml": "new etcd", "kube-apiserver.yaml": "old kube-apiserver", "kube-controller-manager.yaml": "old kube-controller-manager",
			"kube-scheduler.yaml": "old kube-scheduler",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at change %d (-want +got):\n%s", at, diff)
		}
		if !died {
			return
		}
	}
}
