package members

import (
	"bytes"
	"net/netip"
	"os"
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
func onOne(t *testing.T) (e Members, host *fleet.Target, on *agenttest.Machine, told *bytes.Buffer) {
	t.Helper()
	on, told = &agenttest.Machine{Root: filestest.Root(t)}, &bytes.Buffer{}
	e = Members{Site: &site.Site{Fleet: &fleet.Fleet{Options: fleet.Options{Report: installer.NewReporter(told, told, false)}}}}
	return e, &fleet.Target{Host: installer.Host{IP: netip.MustParseAddr("10.0.0.1")}, Agent: on.Agent("stub")}, on, told
}

func TestKubeadmsCopiesGoByItsOwnNames(t *testing.T) {
	e, host, on, told := onOne(t)
	for _, name := range []string{ // as kubeadm 1.36 makes them, and as 1.30 did
		"kubeadm-backup-etcd-2026-11-30-14-47-16/etcd/member/snap/db", "kubeadm-backup-manifests-2026-11-30-14-47-16/etcd.yaml",
		"kubeadm-upgraded-manifests1234567890/etcd.yaml", "kubeadm-kubelet-config-2026-11-30-14-47-16/config.yaml",
		"kubeadm-kubelet-config987654321/config.yaml", "kubeadm-kubelet-env4711/kubeadm-flags.env",
		"kubeadm-init-dryrun42/etcd.yaml", "kubeadm-backup-etcd-mine/db", "etcd-by-hand.db",
	} {
		filestest.Write(t, on.Root+"/etc/kubernetes/tmp/"+name, "x", 0o600)
	}
	if err := e.ClearKubeadmCopies(t.Context(), host); err != nil {
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
	e, host, on, told := onOne(t)
	filestest.Write(t, on.Root+"/large/kubeadm-backup-etcd-2026-11-30-14-47-16/db", "x", 0o600)
	filestest.Write(t, on.Root+"/etc/kubernetes/admin.conf", "x", 0o600)
	if err := os.Symlink(on.Root+"/large", on.Root+"/etc/kubernetes/tmp"); err != nil {
		t.Fatal(err)
	}
	if err := e.ClearKubeadmCopies(t.Context(), host); err != nil || !strings.Contains(told.String(), "it is a link") {
		t.Errorf("%v; told %q", err, told)
	}
	if _, err := os.Stat(on.Root + "/large/kubeadm-backup-etcd-2026-11-30-14-47-16/db"); err != nil {
		t.Error(err)
	}
}
