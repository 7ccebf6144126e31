package hostnet

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// podNetworkDirs are the directories in which networks of pods keep configurations, plugins and state.
func podNetworkDirs() []string {
	return []string{cniConfigs, cniPlugins, cniState, "/run/flannel"}
}

// RemovePodNetwork removes what the network of pods left on a host, of images made for sealos: they leave that to the
// installer, while scripts of our own images do it themselves. The runtime of the next cluster would take the old
// configuration before there is a new one, and a link with other addresses keeps pods from starting. Files older than this
// cluster stay, and so does what may be the site's own.
func (n Net) RemovePodNetwork(ctx context.Context, t *fleet.Target) error {
	if !n.PlainRegistry(t) {
		return nil
	}
	if err := n.removePodFiles(ctx, t); err != nil {
		return err
	}
	facts, err := t.Agent.Facts(ctx, agent.FactsRequest{})
	if err != nil {
		return err
	}
	for _, trace := range facts.CNI {
		link, ok := strings.CutPrefix(trace, "network link ")
		if !ok {
			continue
		}
		if _, err := n.Exec(ctx, t, "clean", "ip", "link", "delete", link); err != nil {
			n.Report.Warnf("%s: the link %s of the pods' network stays: %v", t.IP, link, err)
		}
	}
	if err := n.removePodRoutes(ctx, t); err != nil {
		n.Report.Warnf("%s: routes to the pods of other hosts stay: %v", t.IP, err)
	}
	return nil
}

// removePodRoutes removes the routes to pods of other hosts that go by the host's own link, as flannel's host-gw makes
// them. The preflight begins no cluster where the pods' addresses have routes already. A route by another gateway than the
// cluster's hosts may not be the cluster's: it gets a warning, and stays.
func (n Net) removePodRoutes(ctx context.Context, t *fleet.Target) error {
	docs, err := n.InitDocuments(t)
	if err != nil {
		return err
	}
	hosts := map[string]bool{}
	for _, h := range n.Cluster.Hosts {
		hosts[h.IP.String()] = true
	}
	for _, subnet := range docs.Settings().PodSubnets {
		family := "-4"
		if subnet.Addr().Is6() {
			family = "-6"
		}
		res, err := n.Exec(ctx, t, "clean", "ip", family, "route", "show", "root", subnet.String())
		if err != nil {
			return err
		}
		routes, err := res.Whole()
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(routes)) {
			f := strings.Fields(line)
			if len(f) < 3 || f[1] != "via" {
				continue
			}
			if !hosts[f[2]] {
				n.Report.Warnf("%s: the route to %s via %s stays: that is no host of the cluster", t.IP, f[0], f[2])
				continue
			}
			if _, err := n.Exec(ctx, t, "clean", "ip", family, "route", "delete", f[0], "via", f[2]); err != nil {
				return fmt.Errorf("to %s: %w", f[0], err)
			}
		}
	}
	return nil
}
