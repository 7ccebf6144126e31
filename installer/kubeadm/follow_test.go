package kubeadm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestTheClustersOwnConfigurationFollowsTheMasters(t *testing.T) {
	const stored = `apiServer:
  certSANs: [127.0.0.1, api.example.org, 10.0.0.1, 10.0.0.2]
  extraArgs: [{name: audit-log-maxage, value: "30"}]
clusterName: kubernetes
kind: ClusterConfiguration
`
	text, changed, err := FollowMasters([]byte(stored), []string{"10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"})
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	var got, want object
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(stored), &want); err != nil {
		t.Fatal(err)
	}
	put(want, toList([]string{"127.0.0.1", "api.example.org", "10.0.0.2", "10.0.0.3"}), "apiServer", "certSANs")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all but the names must stay (-want +got):\n%s", diff)
	}
	if _, changed, err = FollowMasters(text, []string{"10.0.0.2", "10.0.0.3"}, []string{"10.0.0.1"}); changed || err != nil {
		t.Errorf("the same once more: changed %v, %v", changed, err)
	}
	// The address of a master that is gone may be that of a new one.
	if _, changed, err = FollowMasters(text, []string{"10.0.0.2", "10.0.0.3"}, []string{"10.0.0.3"}); changed || err != nil {
		t.Errorf("a master's own address: changed %v, %v", changed, err)
	}
	for _, bad := range []string{"", "[", "- a"} {
		if _, _, err := FollowMasters([]byte(bad), nil, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
