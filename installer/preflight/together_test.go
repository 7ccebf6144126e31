package preflight

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func hostAtIP(ip string, f agent.Facts) Host { return Host{IP: ip, Facts: f} }

func TestHostsOfOneNameAreToldOfEachOther(t *testing.T) {
	hosts := []Host{
		hostAtIP("10.0.0.5", agent.Facts{Hostname: "twin"}),
		hostAtIP("10.0.0.2", agent.Facts{Hostname: "clone"}),
		hostAtIP("10.0.0.3", agent.Facts{Hostname: "clone"}),
		hostAtIP("10.0.0.4", agent.Facts{Hostname: "alone"}),
		hostAtIP("10.0.0.6", agent.Facts{Hostname: "twin"}),
		hostAtIP("10.0.0.7", agent.Facts{}),
		hostAtIP("10.0.0.8", agent.Facts{}),
	}
	var got []string
	for range 20 { // the order must not depend on chance
		got = nil
		for _, p := range JudgeTogether(hosts, "10.103.97.2", Settings{}) {
			got = append(got, p.Host+" "+p.Check+" "+p.Message)
		}
		want := []string{
			`10.0.0.5 host-name its host name "twin" is the name of 10.0.0.6 too`,
			`10.0.0.2 host-name its host name "clone" is the name of 10.0.0.3 too`,
			`10.0.0.3 host-name its host name "clone" is the name of 10.0.0.2 too`,
			`10.0.0.6 host-name its host name "twin" is the name of 10.0.0.5 too`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("problems (-want +got):\n%s", diff)
		}
	}
}

func TestVirtualAddressOfAHostIsRefusedUnlessItIsOurs(t *testing.T) {
	owner := hostAtIP("10.0.0.2", agent.Facts{Addresses: []string{"10.0.0.2/24", "10.0.0.9/32"}})
	got := JudgeTogether([]Host{owner}, "10.0.0.9", Settings{})
	if len(got) != 1 || got[0].Check != "vip" || got[0].Host != "10.0.0.2" || !strings.Contains(got[0].Remedy, "defaultVIP=") {
		t.Errorf("problems: %+v", got)
	}
	if got := JudgeTogether([]Host{owner}, "10.0.0.90", Settings{}); len(got) > 0 {
		t.Errorf("an address that only begins like it: %+v", got)
	}
	owner.Begun = true // care put it there
	if got := JudgeTogether([]Host{owner}, "10.0.0.9", Settings{}); len(got) > 0 {
		t.Errorf("on a host of this cluster: %+v", got)
	}
}

func TestNetworksOfTheClusterMustNotBeThoseOfTheSite(t *testing.T) {
	kube := Settings{Pods: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}, Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/22")}}
	for name, c := range map[string]struct {
		facts agent.Facts
		want  []string
	}{
		"apart":               {agent.Facts{Routes: []string{"192.168.1.0/24", "fd00::/64"}, Addresses: []string{"192.168.1.5/24", "::1/128"}}, nil},
		"a route to pods":     {agent.Facts{Routes: []string{"100.100.0.0/16"}}, []string{"subnet podSubnet 100.64.0.0/10 overlaps the route to 100.100.0.0/16"}},
		"a route around all":  {agent.Facts{Routes: []string{"10.0.0.0/8"}}, []string{"subnet serviceSubnet 10.96.0.0/22 overlaps the route to 10.0.0.0/8", "vip (warning) the virtual address 10.103.97.2 lies in 10.0.0.0/8"}},
		"an address of it":    {agent.Facts{Addresses: []string{"10.96.0.7/32"}}, []string{"subnet serviceSubnet 10.96.0.0/22 holds the address 10.96.0.7"}},
		"the virtual address": {agent.Facts{Addresses: []string{"10.103.97.2/32"}}, []string{"vip the virtual address 10.103.97.2 is an address of this host"}},
		"rubbish":             {agent.Facts{Addresses: []string{"x"}, Routes: []string{"y"}}, nil},
	} {
		got := JudgeTogether([]Host{hostAtIP("192.168.1.5", c.facts)}, "10.103.97.2", kube)
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		for i, p := range got {
			text := p.Check + " " + p.Message
			if p.Warning {
				text = p.Check + " (warning) " + p.Message
			}
			if !strings.HasPrefix(text, c.want[i]) || p.Remedy == "" {
				t.Errorf("%s: %+v, want %q", name, p, c.want[i])
			}
		}
	}
}

func TestCopiesOfOneDiskAreTold(t *testing.T) {
	got := JudgeTogether([]Host{
		hostAtIP("10.0.0.2", agent.Facts{Hostname: "a", MachineID: "1"}), hostAtIP("10.0.0.3", agent.Facts{Hostname: "b", MachineID: "2"}),
		hostAtIP("10.0.0.4", agent.Facts{Hostname: "c", MachineID: "1"}), hostAtIP("10.0.0.5", agent.Facts{Hostname: "d"}), hostAtIP("10.0.0.6", agent.Facts{Hostname: "e"}),
	}, "10.103.97.2", Settings{})
	if len(got) != 2 || got[0].Host != "10.0.0.2" || got[1].Host != "10.0.0.4" || !got[0].Warning {
		t.Errorf("%+v", got)
	}
}

func TestClockOfThisMachineIsComparedWithTheHosts(t *testing.T) {
	if got := OwnClock(-11 * time.Hour); got != nil {
		t.Errorf("%+v", got)
	}
	if got := OwnClock(13 * time.Hour); len(got) != 1 || got[0].Host != "" || !strings.Contains(got[0].Message, "13h0m") {
		t.Errorf("%+v", got)
	}
}

func TestFirewallsThatAreOnAreWarnedOf(t *testing.T) {
	h := hostAtIP("10.0.0.1", agent.Facts{Firewalls: []string{"ufw"}})
	if got := firewallProblems(h); len(got) != 1 || !got[0].Warning || !strings.Contains(got[0].Remedy, "8472") {
		t.Errorf("%+v", got)
	}
	h.Begun = true
	if got := slices.Concat(firewallProblems(h), firewallProblems(hostAtIP("10.0.0.1", agent.Facts{}))); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
