package upgrade

import (
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestAKubeletIsToldOnceToLookAtItsPodsOften(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"as kubeadm writes it":    {"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nsyncFrequency: 0s\nvolumeStatsAggPeriod: 0s\n", true},
		"without the field":       {"kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nmaxPods: 7", true},
		"a minute":                {"apiVersion: kubelet.config.k8s.io/v1beta1\nsyncFrequency: 1m0s\n", true},
		"often already":           {"apiVersion: kubelet.config.k8s.io/v1beta1\nsyncFrequency: 5s\n", false},
		"no duration":             {"apiVersion: kubelet.config.k8s.io/v1beta1\nsyncFrequency: soon\n", false},
		"in another way":          {`{"apiVersion": "kubelet.config.k8s.io/v1beta1", "syncFrequency": "0s"}`, false},
		"nothing":                 {"", false},
		"the field of a map only": {"apiVersion: kubelet.config.k8s.io/v1beta1\nother:\n  syncFrequency: 1s\n", true},
	} {
		text, ok := looksOften(c.text)
		if ok != c.want {
			t.Errorf("%s: %t", name, ok)
		}
		if !ok {
			continue
		}
		var before, after map[string]any
		if err := yaml.Unmarshal([]byte(c.text), &before); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(text), &after); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if before["syncFrequency"] = "10s"; after["syncFrequency"] != "10s" || len(before) != len(after) {
			t.Errorf("%s:\n%s", name, text)
		}
		if _, again := looksOften(text); again {
			t.Errorf("%s: told twice", name)
		}
	}
}
