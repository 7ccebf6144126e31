package installer

import (
	"strings"
	"testing"
	"time"
)

func TestJumpHostsOfAClusterfileAreKept(t *testing.T) {
	text := []byte(`apiVersion: apps.sealos.io/v1beta1
kind: Cluster
metadata: {name: default}
spec:
  ssh: {jump: "ops@bastion:2222"}
  hosts:
    - {ips: [10.0.0.2], roles: [master]}
    - {ips: [10.0.0.3], roles: [node], ssh: {jump: none}}
`)
	for range 2 { // read from the operator's file, then from what was recorded
		c, err := ParseClusterfile("Clusterfile", text)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(); err != nil {
			t.Fatal(err)
		}
		if a, b := c.Hosts[0].SSH.Jump, c.Hosts[1].SSH.Jump; a != "ops@bastion:2222" || b != "none" {
			t.Errorf("jump hosts %q and %q", a, b)
		}
		again, err := c.Clusterfile(time.Now(), Status{})
		if err != nil || !strings.Contains(string(again), "jump: ops@bastion:2222") {
			t.Fatalf("%s, %v", again, err)
		}
		text = again
	}
}
