package kubeadm

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, stream string) layer {
	t.Helper()
	docs, err := parseLayer("test", [][]byte{[]byte(stream)})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestOlderDocumentsBecomeWhatTheNewVersionSays(t *testing.T) {
	const old = `
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
apiServer: {timeoutForControlPlane: 5m0s, extraArgs: {b: "2", a: 1}}
etcd: {local: {extraArgs: {quiet: true}}}
featureGates: {PublicKeysECDSA: true, Other: false}
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
dns: {type: CoreDNS}
useHyperKubeImage: false
---
apiVersion: kubeadm.k8s.io/v1beta3
kind: JoinConfiguration
discovery: {timeout: 7m0s}
nodeRegistration: {kubeletExtraArgs: {v: 2}}
`
	const new = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer: {extraArgs: [{name: a, value: "1"}, {name: b, value: "2"}]}
etcd: {local: {extraArgs: [{name: quiet, value: "true"}]}}
featureGates: {Other: false}
encryptionAlgorithm: ECDSA-P256
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
timeouts: {controlPlaneComponentHealthCheck: 5m0s}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
timeouts: {controlPlaneComponentHealthCheck: 5m0s, discovery: 7m0s}
nodeRegistration: {kubeletExtraArgs: [{name: v, value: "2"}]}
`
	if diff := cmp.Diff(parse(t, new), parse(t, old)); diff != "" {
		t.Errorf("converted (-want +got):\n%s", diff)
	}
}

func TestConversionDownAndUpAgainKeepsEverything(t *testing.T) {
	const stream = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer: {certSANs: [x], extraArgs: [{name: a, value: "1"}, {name: b, value: "2"}]}
encryptionAlgorithm: ECDSA-P256
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
skipPhases: [addon]
timeouts: {controlPlaneComponentHealthCheck: 5m0s}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
timeouts: {controlPlaneComponentHealthCheck: 5m0s, discovery: 7m0s}
nodeRegistration: {taints: [], kubeletExtraArgs: [{name: v, value: "2"}]}
`
	docs := parse(t, stream)
	if err := downgrade(docs); err != nil {
		t.Fatal(err)
	}
	if _, there := get(docs[kindCluster], "apiServer", "timeoutForControlPlane"); !there {
		t.Error("the control plane's timeout did not move to ClusterConfiguration")
	}
	again := layer{}
	for _, kind := range []string{kindInit, kindJoin, kindCluster} {
		docs[kind]["apiVersion"], docs[kind]["kind"] = apiV1beta3, kind
		next, err := canonical("test", kind, docs[kind])
		if err != nil {
			t.Fatal(err)
		}
		for kind, doc := range next {
			again[kind] = merge(kind, again[kind], doc)
		}
	}
	if diff := cmp.Diff(parse(t, stream), again); diff != "" {
		t.Errorf("after going down and up (-want +got):\n%s", diff)
	}
}

func TestWhatTheOldVersionLacksIsAnErrorThatNamesIt(t *testing.T) {
	for field, text := range map[string]string{
		"timeouts":                         "kind: InitConfiguration\ntimeouts: {tlsBootstrap: 9m0s}",
		"nodeRegistration.imagePullSerial": "kind: InitConfiguration\nnodeRegistration: {imagePullSerial: false}",
		"proxy.disabled":                   "kind: ClusterConfiguration\nproxy: {disabled: true}",
		"apiServer.extraEnvs":              "kind: ClusterConfiguration\napiServer: {extraEnvs: [{name: A, value: b}]}",
		"apiServer.extraArgs":              "kind: ClusterConfiguration\napiServer: {extraArgs: [{name: i, value: a}, {name: i, value: b}]}",
		"encryptionAlgorithm":              "kind: ClusterConfiguration\nencryptionAlgorithm: RSA-4096",
	} {
		in := example(Init)
		in.KubernetesVersion = "v1.30.0"
		in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\n" + text)}
		_, err := Render(in)
		var config *ConfigError
		if !errors.Is(err, ErrNotExpressible) || !errors.As(err, &config) || config.Field != field {
			t.Errorf("%s: error is %v, want ErrNotExpressible that names the field", field, err)
		}
		in.KubernetesVersion = "v1.31.0"
		if _, err := Render(in); err != nil {
			t.Errorf("%s on v1.31.0: %v", field, err)
		}
	}
}

func TestRSAKeysAreNothingSpecialForTheOldVersion(t *testing.T) {
	in := example(Init)
	in.KubernetesVersion = "v1.29.1"
	in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nencryptionAlgorithm: RSA-2048")}
	out := render(t, in)
	if strings.Contains(out, "PublicKeysECDSA") || strings.Contains(out, "encryptionAlgorithm") {
		t.Errorf("documents name a key algorithm:\n%s", out)
	}
}
