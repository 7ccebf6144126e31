package hostnet

import (
	"context"
	"net/netip"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// APIAddress is the address of apiserver.cluster.local on a host: the virtual address on a worker, and the host itself on a
// master whose control plane runs. On a master before that it is master0; on master0 it is always the host itself, since
// with another address kubeadm would wait for a control plane that waits for it.
func (n Net) APIAddress(t *fleet.Target) string {
	switch {
	case !t.Master:
		return n.Payload.VIP(n.Cluster)
	case t == n.Master0() || t.Journal.Has(journal.KubeadmDone):
		return t.IP.String()
	}
	return n.Master0().IP.String()
}

// SetHosts writes the installer's lines of /etc/hosts: the names of all hosts, the registry, and api as the address of the
// API server. So no DNS is needed: a kubelet that cannot resolve its own name waits ten seconds for each pod. It counts the change.
func (n Net) SetHosts(ctx context.Context, t *fleet.Target, api string) (changes int, err error) {
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
	changed, err := t.Agent.SetHosts(ctx, entries)
	if changed {
		changes = 1
	}
	return changes, err
}

// hostnames are the names of a host of the cluster. For one that is left out of this run they are read from the installer's
// lines on the other hosts. There are none if no host has them.
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
