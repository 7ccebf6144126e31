package hostnet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyFilesOfWhichSomethingTellsThatTheyAreTheClustersGo(t *testing.T) {
	shipped := map[string]bool{}
	for _, name := range []string{"etc/cni/net.d/10-containerd-net.conflist", "./opt/cni/bin/host-local", "usr/local/bin/tap"} {
		note(shipped, name, false)
	}
	note(shipped, "./portmap", true) // of an archive of plugins alone
	text := map[string]string{
		"/etc/cni/net.d/10-flannel.conflist":        `{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{"hairpinMode":true}},{"type":"portmap"}]}`,
		"/etc/cni/net.d/05-cilium.conf":             `{"name":"cilium","type":"cilium-cni"}`,
		"/etc/cni/net.d/10-containerd-net.conflist": `{"name":"containerd-net","plugins":[{"type":"bridge"}]}`,
		"/etc/cni/net.d/nerdctl-backup.conflist":    `{"name":"backup","plugins":[{"type":"bridge"},{"type":"portmap"}]}`,
		"/etc/cni/net.d/00-old.conf":                `{"name":"lab","type":"macvlan"}`,
	}
	f := netFiles{shipped: shipped, configs: map[string]network{}}
	for name, text := range text {
		f.configs[name] = readNetwork([]byte(text))
	}
	f.newer = []string{
		"/etc/cni/net.d/10-flannel.conflist", "/etc/cni/net.d/05-cilium.conf", "/etc/cni/net.d/10-containerd-net.conflist",
		"/etc/cni/net.d/nerdctl-backup.conflist", "/etc/cni/net.d/calico-kubeconfig", "/etc/cni/net.d/multus.d/multus.kubeconfig",
		"/opt/cni/bin/flannel", "/opt/cni/bin/calico-ipam", "/opt/cni/bin/host-local", "/opt/cni/bin/portmap", "/opt/cni/bin/tap", "/opt/cni/bin/backup-net",
		"/var/lib/cni/networks/cbr0/100.64.0.2", "/var/lib/cni/networks/backup/10.4.0.2", "/var/lib/cni/results/backup-1-eth0", "/var/lib/cni/networks/lab/10.9.0.2",
		"/run/flannel/subnet.env",
	}
	_, stay := f.split()
	want := []string{"/etc/cni/net.d/nerdctl-backup.conflist", "/opt/cni/bin/tap", "/opt/cni/bin/backup-net"}
	if diff := cmp.Diff(want, stay); diff != "" {
		t.Errorf("what stays and is named: %s", diff)
	}
	gone, _ := f.split()
	want = []string{
		"/etc/cni/net.d/10-flannel.conflist", "/etc/cni/net.d/05-cilium.conf", "/etc/cni/net.d/10-containerd-net.conflist",
		"/etc/cni/net.d/calico-kubeconfig", "/etc/cni/net.d/multus.d/multus.kubeconfig",
		"/opt/cni/bin/flannel", "/opt/cni/bin/calico-ipam", "/opt/cni/bin/host-local", "/opt/cni/bin/portmap",
		"/var/lib/cni/networks/cbr0/100.64.0.2", "/run/flannel/subnet.env",
	}
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Errorf("what goes: %s", diff)
	}
}
