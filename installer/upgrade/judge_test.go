package upgrade

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNodesAtOnceAreANumberOrATruePercentage(t *testing.T) {
	for _, c := range []struct {
		text        string
		hosts, want int
	}{
		{"", 5, 1}, {"1", 5, 1}, {"2", 5, 2}, {"9", 5, 5}, {"10%", 5, 1}, {"10%", 50, 5}, {"50%", 5, 2}, {"100%", 5, 5}, {"1", 0, 1},
	} {
		got, err := AtOnce(c.text, c.hosts)
		if err != nil || got != c.want {
			t.Errorf("%q of %d: %d, %v; want %d", c.text, c.hosts, got, err, c.want)
		}
	}
	for _, text := range []string{"0", "-1", "two", "0%", "101%", "%", "1.5"} {
		if n, err := AtOnce(text, 5); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestWhatAHostRunsIsReadFromItsMarks(t *testing.T) {
	const images = "sha256:aa v1.35.0 example.com/kubernetes:v1.35.0\nsha256:bb - example.com/patch:1"
	got := []string{kubeOf(images), nameOf(images), kubeOf(""), kubeOf("sha256:aa - x"), imageVersion([]byte("spec:\n  containers:\n  - image: registry.k8s.io/etcd:3.6.6-0\n")), imageVersion(nil)}
	want := []string{"v1.35.0", "v1.35.0 of example.com/kubernetes:v1.35.0", "", "", "3.6.6-0", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	config := []byte(`{"data":{"ClusterConfiguration":"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n"}}`)
	if v := clusterVersion(config); v != "v1.36.3" {
		t.Errorf("%q", v)
	}
}
