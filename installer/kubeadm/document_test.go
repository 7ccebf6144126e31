package kubeadm

import (
	"errors"
	"strings"
	"testing"
)

func TestBadDocumentsAreNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		doc  string
		is   error
		want string
	}{
		"unknown kind":      {"apiVersion: v1\nkind: ConfigMap", ErrUnknownKind, `user document 1: ConfigMap: unknown kind "ConfigMap"`},
		"no kind":           {"clusterName: x", ErrUnknownKind, `user document 1: unknown kind ""`},
		"old version":       {"apiVersion: kubeadm.k8s.io/v1beta1\nkind: InitConfiguration", ErrVersion, `apiVersion "kubeadm.k8s.io/v1beta1"`},
		"wrong group":       {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: KubeletConfiguration", ErrVersion, "use one of kubelet.config.k8s.io/v1beta1"},
		"not YAML":          {"a: [", ErrInvalid, "user document 1: "},
		"key twice":         {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: a\nclusterName: b", ErrInvalid, `"clusterName" already set`},
		"not a map":         {"- a", ErrInvalid, "it is not a map"},
		"second document":   {"# only a comment\n---\n\n---\napiVersion: v1\nkind: Pod", ErrUnknownKind, `user document 2: Pod: unknown kind "Pod"`},
		"arguments a text":  {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nscheduler: {extraArgs: v=2}", ErrInvalid, "ClusterConfiguration: scheduler.extraArgs"},
		"nameless argument": {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nscheduler: {extraArgs: [{value: x}]}", ErrInvalid, "entry 1 has no name"},
		"too deep":          {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nx: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), ErrInvalid, "nested deeper"},
		"too big":           {strings.Repeat("#\n", 1<<20), ErrInvalid, "bytes of documents"},
		"too many":          {strings.Repeat("---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n", 65), ErrInvalid, "more than 64 documents"},
	} {
		t.Run(name, func(t *testing.T) {
			in := example(Init)
			in.UserDocs = [][]byte{[]byte(tc.doc)}
			_, err := Render(in)
			var config *ConfigError
			if !errors.Is(err, tc.is) || !errors.As(err, &config) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v\nwant %v with %q", err, tc.is, tc.want)
			}
		})
	}
}

func TestDocumentMarkersCutTheStream(t *testing.T) {
	const doc = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
	for _, stream := range []string{
		doc + "clusterName: a\n---\n" + doc + "clusterName: b",
		"--- # first\n" + doc + "clusterName: a\n...\n---\r\n" + doc + "clusterName: b\n---",
		doc + "clusterName: |-\n  text\n  --- \n--- {apiVersion: kubeadm.k8s.io/v1beta4, kind: ClusterConfiguration, clusterName: b}\n",
	} {
		docs := parse(t, stream)
		if got := textAt(docs[kindCluster], "clusterName"); got != "b" {
			t.Errorf("the last document of %q says %q, want b", stream, got)
		}
	}
}

func TestUserWinsOverImageOverDefaults(t *testing.T) {
	const doc = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nnetworking: "
	in := example(Init)
	in.ImageDocs = [][]byte{[]byte(doc + "{podSubnet: 172.16.0.0/16, serviceSubnet: 172.17.0.0/16}")}
	in.UserDocs = [][]byte{[]byte(doc + "{podSubnet: 172.18.0.0/16}")}
	docs, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	settings := docs.Settings()
	got := []string{settings.PodSubnets[0].String(), settings.ServiceSubnets[0].String(), settings.DNSDomain}
	want := []string{"172.18.0.0/16", "172.17.0.0/16", "cluster.local"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("networks are %v, want %v", got, want)
			break
		}
	}
}

func TestThisHostsIdentityIsNotUpToDocuments(t *testing.T) {
	in := example(JoinNode)
	in.Node.Hostname = "Node-0"
	in.UserDocs = [][]byte{[]byte(`
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration: {name: shared}
controlPlane: {localAPIEndpoint: {advertiseAddress: 1.1.1.1}}
discovery: {bootstrapToken: {token: stale0.stale00000000000}}
`)}
	out := render(t, in)
	for _, wrong := range []string{"shared", "controlPlane", "bootstrapToken", "Node-0"} {
		if strings.Contains(out, wrong) {
			t.Errorf("documents hold %q:\n%s", wrong, out)
		}
	}
	if !strings.Contains(out, "name: node-0\n") {
		t.Errorf("documents lack the node's own name:\n%s", out)
	}
}

func TestKubeProxyKeepsOffTheVirtualServer(t *testing.T) {
	in := example(Init)
	in.UserDocs = [][]byte{[]byte("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nipvs: {excludeCIDRs: [10.5.0.0/16]}")}
	out := render(t, in)
	if !strings.Contains(out, "  excludeCIDRs:\n  - 10.103.97.2/32\n  - 10.5.0.0/16\n") {
		t.Errorf("kube-proxy's exclusions are wrong:\n%s", out)
	}
}

func TestChosenResolvConfIsNotOverruled(t *testing.T) {
	for doc, want := range map[string]bool{
		"": true,
		"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nresolvConf: /run/mine": false,
	} {
		in := example(Init)
		in.ResolvConf = "/var/lib/sealos/resolv.conf"
		in.UserDocs = [][]byte{[]byte(doc)}
		if got := strings.Contains(render(t, in), in.ResolvConf); got != want {
			t.Errorf("with document %q the installer's resolv.conf is used: %t, want %t", doc, got, want)
		}
		// An image cannot know what the hosts have.
		in.ImageDocs, in.UserDocs = in.UserDocs, nil
		if got := render(t, in); !strings.Contains(got, in.ResolvConf) || strings.Contains(got, "/run/mine") {
			t.Errorf("document %q of an image decides:\n%s", doc, got)
		}
	}
	const argument = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: [{name: resolv-conf, value: /run/mine}]}"
	in := example(Init)
	in.ResolvConf, in.UserDocs = "/var/lib/sealos/resolv.conf", [][]byte{[]byte(argument)}
	if got := render(t, in); !strings.Contains(got, "/run/mine") {
		t.Errorf("an argument of kubelet, which wins there, is lost:\n%s", got)
	}
	in.ImageDocs, in.UserDocs = in.UserDocs, nil
	if got := render(t, in); strings.Contains(got, "/run/mine") || !strings.Contains(got, "node-ip") {
		t.Errorf("an image's argument of kubelet decides:\n%s", got)
	}
}
