// Package hostnet is what the network of a host needs for a cluster: the names in /etc/hosts, name servers for pods, a
// route to Services, and care, which keeps the virtual address alive. A reset uses it to remove the pods' network.
package hostnet

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Net makes the network of the hosts fit for a cluster.
type Net struct{ *site.Site }

// Settle gives hosts what the site's network lacks for a cluster, and returns the number of changes. Every run does so: a
// host that was moved to another network works again after the next one.
func (n Net) Settle(ctx context.Context) (int, error) {
	networks, err := n.ServedNetworks()
	if err != nil {
		return 0, err
	}
	asked := n.NetworksToAsk()
	docs, err := n.InitDocuments(n.Master0())
	if err != nil {
		return 0, err
	}
	held := care.Held{Pods: docs.Settings().PodSubnets, Services: docs.Settings().ServiceSubnets}
	return n.Count(ctx, n.Targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		changes, err := n.settleResolver(ctx, t)
		if err != nil {
			return changes, err
		}
		routes, err := n.settleServiceRoute(ctx, t, networks, asked)
		if err != nil {
			return changes + routes, err
		}
		units, err := n.settleHold(ctx, t, held)
		return changes + routes + units, err
	})
}

// DirectTargets are the addresses and names that containerd and kubelet of a host connect to.
func (n Net) DirectTargets() []string {
	return append(n.Cluster.MasterIPs(), n.Access().Domain, installer.APIServerDomain)
}

// ServiceTargets are the other addresses and networks of the cluster that a host may connect to.
func (n Net) ServiceTargets(kube preflight.Settings) []string {
	out := []string{n.Payload.VIP(n.Cluster)}
	for _, p := range kube.Services {
		out = append(out, p.String())
	}
	return out
}

// Shielded tells whether the units of the images unset the proxies that systemd gives to services.
func (n Net) Shielded(t *fleet.Target) bool {
	for _, unit := range []string{"containerd.service", "kubelet.service"} {
		text, ok := n.Share(t).SystemFile(path.Join("etc", unit))
		if !ok || !slices.ContainsFunc(strings.Split(string(text), "\n"), func(l string) bool {
			value, is := strings.CutPrefix(strings.TrimSpace(l), "UnsetEnvironment=")
			names := strings.Fields(value)
			return is && slices.Contains(names, "HTTPS_PROXY") && slices.Contains(names, "https_proxy")
		}) {
			return false
		}
	}
	return true
}
