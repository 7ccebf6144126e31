package clusterimages_test

import (
	"os"
	"strings"
	"testing"
)

func TestChecksumsAreWellFormed(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("checksums.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 5 || len(f[3]) != 64 || !strings.HasPrefix(f[4], "https://") || (f[2] != "any" && !strings.Contains(f[4], f[2])) || !strings.Contains(f[4], strings.TrimPrefix(f[1], "v")) {
			t.Errorf("odd line: %s", line)
			continue
		}
		if seen[strings.Join(f[:3], " ")] {
			t.Errorf("pinned twice: %s", line)
		}
		seen[strings.Join(f[:3], " ")] = true
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, what := range []string{"kubelet v1.36.3", "kubelet v1.35.4", "kubelet v1.34.4", "kubeadm v1.36.3", "kubectl v1.36.3", "helm v3.18.4"} {
			if !seen[what+" "+arch] {
				t.Errorf("%s %s is not pinned", what, arch)
			}
		}
	}
	for _, chart := range []string{"tigera-operator", "crd.projectcalico.org.v1"} {
		if !seen[chart+" v3.32.1 any"] {
			t.Errorf("the chart %s is not pinned", chart)
		}
	}
	versions, err := os.ReadFile("kubernetes/versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(versions)) {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] == "#" {
			continue
		}
		for i, name := range []string{"containerd", "runc", "cni", "crictl"} {
			if !seen[name+" "+f[i+1]+" amd64"] || !seen[name+" "+f[i+1]+" arm64"] {
				t.Errorf("Kubernetes %s wants %s %s, which is not pinned", f[0], name, f[i+1])
			}
		}
	}
}
