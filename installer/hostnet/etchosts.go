package hostnet

import (
	"context"
	"net/netip"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// APIAddress is what apiserver.cluster.local means on a host. On a master it is
// the host itself once the control plane runs there; before, and on master0
// always, another answer would make the host wait for itself.
func (n Net) APIAddress(t *fleet.Target) string {
	switch {
	case !t.Master:
		return n.Payload.VIP(n.Cluster)
	case t == n.Master0() || t.Journal.Has(journal.KubeadmDone):
		return t.IP.String()
	}
	return n.Master0().IP.String()
}

// SetHosts writes our lines of /etc/hosts: every host's name, so that no DNS is
// needed (a kubelet that cannot resolve its own name waits ten seconds for each
// pod), the registry and the API server.
func (n Net) SetHosts(ctx context.Context, t *fleet.Target, api string) (bool, error) {
	var entries []agent.HostsEntry
	for _, h := range n.Cluster.Hosts {
		if names := n.hostnames(h.IP); len(names) > 0 {
			entries = append(entries, agent.HostsEntry{IP: h.IP.String(), Names: names})
		}
	}
	entries = append(
		entries,
		agent.HostsEntry{IP: n.Share(t).RegistryHosts()[0], Names: []string{n.Access().Domain}},
		agent.HostsEntry{IP: api, Names: []string{installer.APIServerDomain}},
	)
	return t.Agent.SetHosts(ctx, entries)
}

// hostnames are those of a host of the cluster. Those of one that is left out of
// this run stand in our lines on those that are not; none when nobody knows them.
func (n Net) hostnames(ip netip.Addr) []string {
	for _, t := range n.Targets {
		if t.IP == ip {
			return t.Names()
		}
	}
	for _, t := range n.Targets {
		for _, e := range t.Facts.Hosts {
			if e.IP == ip.String() && len(e.Names) > 0 && e.Names[0] != n.Access().Domain && e.Names[0] != installer.APIServerDomain {
				return e.Names
			}
		}
	}
	return nil
}
