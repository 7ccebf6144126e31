// Package hostnet is what the network of a host needs for a cluster: the names in /etc/hosts, name servers for pods, a
// route to Services, and care, which keeps the virtual address alive. A reset uses it to remove the pods' network.
package hostnet

import (
	"context"

	"github.com/sealbuild/sealbuild/installer/fleet"
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
	return n.Count(ctx, n.Targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		changes, err := n.settleResolver(ctx, t)
		if err != nil {
			return changes, err
		}
		routes, err := n.settleServiceRoute(ctx, t, networks, asked)
		return changes + routes, err
	})
}
