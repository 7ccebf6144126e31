package compat

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kube/kubetest"
	"github.com/sealbuild/sealbuild/installer/site"
)

// asking judges a cluster of one master, by what it tells.
func asking(c *kubetest.Cluster) Compat {
	h := hostOf("10.0.0.1", true)
	target := &fleet.Target{Host: h, Looked: true, Agent: (&agenttest.Machine{Exec: c.Exec}).Agent("/stub")}
	plane := kube.ControlPlane{IP: netip.MustParseAddr("10.0.0.1"), Agent: target.Agent}
	return Compat{Site: &site.Site{
		Fleet: &fleet.Fleet{Options: fleet.Options{Timeout: time.Second, Jobs: 4, Report: installer.Silent()}, Targets: []*fleet.Target{target}}, Cluster: &installer.Cluster{Hosts: []installer.Host{h}},
		Kube: &kube.Client{ControlPlanes: func() []kube.ControlPlane { return []kube.ControlPlane{plane} }},
	}}
}

func TestTheNameServerThatRunsIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		lists                map[string]string
		corefile, ofVersions string
	}{
		"CoreDNS": {map[string]string{
			"configmap":  `{"items":[{"metadata":{"namespace":"kube-system","name":"coredns"},"data":{"Corefile":". {\n}\n"}}]}`,
			"deployment": `{"items":[{"metadata":{"namespace":"kube-system","name":"coredns"},"spec":{"template":{"spec":{"containers":[{"image":"sealos.hub:5000/coredns/coredns:v1.13.1"}]}}}}]}`,
		}, ". {\n}\n", "v1.13.1"},
		"another": {nil, "", ""},
	} {
		text, version, err := asking(&kubetest.Cluster{Lists: c.lists}).dnsOfNow(t.Context())
		if err != nil || text != c.corefile || version != c.ofVersions {
			t.Errorf("%s: %q, %q, %v", name, text, version, err)
		}
	}
}
