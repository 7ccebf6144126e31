package kubeadm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hintOf stands for what the installer gives.
func hintOf(word string, known []string) string {
	for _, k := range known {
		if len(k) > 3 && len(word) > 3 && strings.EqualFold(k[:3], word[:3]) && k != word {
			return ": " + k + "?"
		}
	}
	return ""
}

func TestSlipsInDocumentsAreToldByLineAndColumn(t *testing.T) {
	const docs = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  certSAN: [a]
  extraArgs:
  - name: v
    valeu: "4"
  - {name: w, $patch: delete}
networking: {podSubnets: 10.0.0.0/8}
featureGates: {Anything: true}
controllerManager:
  extraArgs: {any-name: x}
  extraVolumes: [{name: a, path: /a}]
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPod: 200
aFieldOfTomorrow: 1
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery: {timeout: 1m}
`
	err := CheckFields("site.yaml", []byte(docs), hintOf)
	if err == nil {
		t.Fatal("nothing is found")
	}
	want := []string{
		`site.yaml:5:3: unknown field "certSAN" in ClusterConfiguration.apiServer: certSANs?`,
		`site.yaml:8:5: unknown field "valeu" in ClusterConfiguration.apiServer.extraArgs: value?`,
		`site.yaml:10:14: unknown field "podSubnets" in ClusterConfiguration.networking: podSubnet?`,
		`site.yaml:14:28: unknown field "path" in ClusterConfiguration.controllerManager.extraVolumes: pathType?`,
		`site.yaml:18:1: unknown field "maxPod" in KubeletConfiguration: maxPods?`,
		`site.yaml:23:13: unknown field "timeout" in JoinConfiguration.discovery`,
	}
	if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
		t.Error(d)
	}
}

func TestOwnDocumentsHoldKnownFieldsOnly(t *testing.T) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "golden", "*.yaml"))
	if err != nil || len(seeds) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckFields(name, data, hintOf); err != nil {
			t.Error(err)
		}
	}
	if err := CheckFields("testbed", []byte(testbedDocs), hintOf); err != nil {
		t.Error(err)
	}
}
