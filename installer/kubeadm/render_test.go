package kubeadm

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is a cluster of three masters; the tests change what they are about.
func example(kind Kind) Input {
	in := Input{
		Kind:              kind,
		KubernetesVersion: "v1.36.3",
		Name:              "default",
		VIP:               "10.103.97.2",
		Masters:           []string{"192.168.0.2", "192.168.0.3", "192.168.0.4"},
		Node:              Node{IP: "192.168.0.2", Hostname: "master-0", Master: true},
		APIEndpoint:       "apiserver.cluster.local:6443",
		CRISocket:         "/run/containerd/containerd.sock",
		IPVS:              true,
	}
	if kind != Init {
		in.Discovery = "/var/lib/sealos/data/default/rootfs/etc/discovery.conf"
	}
	switch kind {
	case JoinMaster:
		in.Node = Node{IP: "192.168.0.3", Hostname: "master-1", Master: true}
	case JoinNode:
		in.Node = Node{IP: "192.168.0.9", Hostname: "node-0"}
	}
	return in
}

const testbedDocs = `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
featureGates: {KubeletInUserNamespace: true}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
---
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
apiServer:
  timeoutForControlPlane: 6m0s
  certSANs: [api.example.com]
  extraArgs: {v: 4, audit-log-maxage: "30"}
  extraVolumes:
    - {name: extra, hostPath: /opt/extra, mountPath: /extra}
networking: {podSubnet: 172.20.0.0/16}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
skipPhases: [addon/coredns]
nodeRegistration:
  ignorePreflightErrors: [SystemVerification, Swap, NumCPU]
  kubeletExtraArgs:
    - {name: max-pods, value: "50"}
---
apiVersion: kubeadm.k8s.io/v1beta3
kind: JoinConfiguration
discovery: {timeout: 10m0s, bootstrapToken: {token: stale0.stale00000000000, apiServerEndpoint: "old:6443"}}
nodeRegistration:
  ignorePreflightErrors: [SystemVerification, Swap, NumCPU]
  kubeletExtraArgs: {max-pods: 50}
`

type goldenCase struct {
	name string
	in   Input
}

func goldenCases() []goldenCase {
	change := func(in Input, f func(*Input)) Input {
		f(&in)
		return in
	}
	return []goldenCase{
		{"init", example(Init)},
		{"join-master", example(JoinMaster)},
		{"join-node", example(JoinNode)},
		{"init-single-node", change(example(Init), func(in *Input) {
			in.Masters, in.SingleNode, in.IPVS, in.LocalTime = in.Masters[:1], true, false, true
			in.ResolvConf = "/var/lib/sealos/resolv.conf"
			in.CertSANs = []string{"k8s.example.com"}
		})},
		{"init-user-documents", change(example(Init), func(in *Input) { in.UserDocs = [][]byte{[]byte(testbedDocs)} })},
		{"join-node-user-documents", change(example(JoinNode), func(in *Input) { in.UserDocs = [][]byte{[]byte(testbedDocs)} })},
		{"init-v1beta3", change(example(Init), func(in *Input) {
			in.KubernetesVersion, in.UserDocs = "v1.30.14", [][]byte{[]byte(testbedDocs)}
		})},
		{"join-master-v1beta3", change(example(JoinMaster), func(in *Input) {
			in.KubernetesVersion, in.UserDocs = "v1.30.14", [][]byte{[]byte(testbedDocs)}
		})},
		{"init-external-etcd", change(example(Init), func(in *Input) {
			in.ImageDocs = [][]byte{[]byte(`
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
etcd: {external: {endpoints: ["https://10.1.0.1:2379"], caFile: /etc/etcd/ca.crt, certFile: /etc/etcd/c.crt, keyFile: /etc/etcd/c.key}}
`)}
		})},
		{"init-ipv6", change(example(Init), func(in *Input) {
			in.VIP, in.Masters, in.Node.IP = "fd00:97::2", []string{"fd00::2"}, "fd00::2"
			in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 'fd10::/56', serviceSubnet: 'fd20::/112'}\n")}
		})},
	}
}

func render(t *testing.T, in Input) string {
	t.Helper()
	docs, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := docs.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDocumentsMatchGoldenFiles(t *testing.T) {
	for _, tc := range goldenCases() {
		t.Run(tc.name, func(t *testing.T) {
			got := render(t, tc.in)
			path := filepath.Join("testdata", "golden", tc.name+".yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}

func TestEverythingWrongWithTheInputIsNamedAtOnce(t *testing.T) {
	_, err := Render(Input{Kind: "upgrade", KubernetesVersion: "v1.12.0", VIP: "vip", Node: Node{IP: "1.2.3"}})
	if err == nil {
		t.Fatal("no error")
	}
	want := `Kubernetes version: v1.12.0 is older than v1.22.0: version not supported
virtual address: "vip" is not an IP address: invalid value
node address: "1.2.3" is not an IP address: invalid value
masters: there is none: invalid value
host name of 1.2.3: it is empty: invalid value
API endpoint: missing port in address: invalid value
kind: "upgrade" is neither init, join-master nor join-node: invalid value`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestJoiningWithoutDiscoveryFileIsRefused(t *testing.T) {
	in := example(JoinNode)
	in.Discovery = ""
	if _, err := Render(in); !errors.Is(err, ErrInvalid) {
		t.Errorf("error is %v, want ErrInvalid", err)
	}
}

func TestTheDiscoveryFileLeadsMastersToTheFirstAndNodesToTheVirtualAddress(t *testing.T) {
	for kind, server := range map[Kind]string{JoinMaster: "https://192.168.0.2:6443", JoinNode: "https://10.103.97.2:6443"} {
		data, err := DiscoveryFile(example(kind), []byte("the CA"), "abcdef.0123456789abcdef")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"server: " + server + "\n", "certificate-authority-data: dGhlIENB\n", "token: abcdef.0123456789abcdef\n"} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s: no %q in\n%s", kind, want, data)
			}
		}
	}
}

func TestSettingsTellWhatTheDocumentsDecided(t *testing.T) {
	in := example(JoinNode)
	in.UserDocs = [][]byte{[]byte(testbedDocs)}
	docs, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	settings := docs.Settings()
	got := map[string]any{
		"pods": settings.PodSubnets[0].String(), "services": settings.ServiceSubnets[0].String(),
		"proxy": settings.KubeProxyMode, "name": settings.ClusterName, "pki": settings.CertificatesDir, "sans": settings.CertSANs,
	}
	want := map[string]any{
		"pods": "172.20.0.0/16", "services": "10.96.0.0/22", "proxy": "iptables", "name": "default", "pki": "/etc/kubernetes/pki",
		"sans": []string{
			"127.0.0.1", "apiserver.cluster.local", "10.103.97.2", "192.168.0.2", "192.168.0.3", "192.168.0.4", "api.example.com",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestCollidingNetworksAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ networking, want string }{
		"VIP in services":    {"{serviceSubnet: 10.103.0.0/16}", "the virtual address 10.103.97.2 lies in 10.103.0.0/16"},
		"host in pods":       {"{podSubnet: 192.168.0.0/16}", "host 192.168.0.2 lies in 192.168.0.0/16"},
		"pods over services": {"{podSubnet: 10.96.0.0/22}", "10.96.0.0/22 overlaps the service network 10.96.0.0/22"},
		"not a network":      {"{podSubnet: 10.96.0.0}", `"10.96.0.0" is not a network`},
	} {
		in := example(Init)
		in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: " + tc.networking)}
		_, err := Render(in)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, want %q", name, err, tc.want)
		}
	}
}

// TestAPIServerServesOnWhenItIsToldToStop holds the time that balancers have to see it, in every form of the documents, and that a
// value of the site's own is the one that counts.
func TestAPIServerServesOnWhenItIsToldToStop(t *testing.T) {
	for version, form := range map[string]string{
		"v1.36.3":  "name: shutdown-delay-duration\n    value: %s\n",
		"v1.30.14": "shutdown-delay-duration: %s\n",
	} {
		for own, want := range map[string]string{"": "10s", "25s": "25s"} {
			in := example(Init)
			in.KubernetesVersion = version
			if own != "" {
				in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n" +
					"apiServer: {extraArgs: [{name: shutdown-delay-duration, value: " + own + "}]}\n")}
			}
			got := render(t, in)
			if !strings.Contains(got, fmt.Sprintf(form, want)) || strings.Count(got, "shutdown-delay-duration") != 1 {
				t.Errorf("%s, own value %q:\n%s", version, own, got)
			}
		}
	}
}
