package fleet

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

func TestOnlyConnectionsThatMatterAreTried(t *testing.T) {
	m1, m2 := target("10.0.0.1", true, agent.Facts{}), target("10.0.0.2", true, agent.Facts{PortsInUse: []int{2379}})
	n1, n2 := target("10.0.0.3", false, agent.Facts{}), target("10.0.0.4", false, agent.Facts{})
	for name, c := range map[string]struct {
		from, to *Target
		want     []int
	}{
		"master to master": {m1, m2, []int{6443, 2379, 2380, 10250, 5000}},
		"node to master":   {n1, m1, []int{6443, 5000}},
		"master to node":   {m1, n1, []int{10250}},
		"node to node":     {n1, n2, nil},
		"to itself":        {m1, m1, nil},
	} {
		if diff := cmp.Diff(c.want, dialsTo(c.from, c.to, 5000)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	all := []*Target{m1, m2, n1, n2}
	if diff := cmp.Diff([]int{2380, 5000, 6443, 10250}, listens(m2, all, 5000)); diff != "" {
		t.Errorf("a port that is taken is not tried: %s", diff)
	}
	if diff := cmp.Diff([]int{5000, 6443}, listens(m1, []*Target{m1, n1}, 5000)); diff != "" {
		t.Error(diff)
	}
	ends, of := endpoints(n1, []*Target{m1, n2}, map[*Target][]int{m1: {6443}}, 5000)
	if diff := cmp.Diff([]agent.Endpoint{{IP: "10.0.0.1", Port: 6443}}, ends); diff != "" || of["10.0.0.1"] != m1 {
		t.Error(diff)
	}
}

func TestPortsOfOneStoryAreToldTogetherWithTheFirewallsRemedy(t *testing.T) {
	m := target("10.0.0.1", true, agent.Facts{Firewalls: []string{"firewalld"}})
	u := unreached{}
	for _, from := range []string{"10.0.0.3", "10.0.0.2"} {
		u.add(m, 6443, "silent", from)
		u.add(m, 5000, "silent", from)
	}
	u.add(m, 2379, "refused", "10.0.0.2")
	got := u.problems([]*Target{target("10.0.0.9", true, agent.Facts{}), m})
	want := []preflight.Problem{
		{
			Host: "10.0.0.1", Check: "reach", Message: "TCP 2379 cannot be reached from 10.0.0.2: refused (rejected on the way)",
			Remedy: "on that host: firewall-cmd --permanent --add-port=2379/tcp && firewall-cmd --reload",
		},
		{
			Host: "10.0.0.1", Check: "reach", Message: "TCP 5000, 6443 cannot be reached from 10.0.0.2-10.0.0.3: nothing comes back (dropped on the way)",
			Remedy: "on that host: firewall-cmd --permanent --add-port=5000/tcp --add-port=6443/tcp && firewall-cmd --reload",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for firewall, says := range map[string]string{"ufw": "ufw allow 1,2/tcp", "nftables": "tcp dport { 1, 2 } accept", "iptables": "--dports 1,2 -j ACCEPT", "": "security groups"} {
		if got := openPorts(target("10.0.0.1", true, agent.Facts{Firewalls: []string{firewall}}), []int{1, 2}); !strings.Contains(got, says) {
			t.Errorf("%s: %s", firewall, got)
		}
	}
}

func target(ip string, master bool, f agent.Facts) *Target {
	return &Target{Host: installer.Host{IP: netip.MustParseAddr(ip), Master: master}, Facts: f}
}
