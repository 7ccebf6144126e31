// Package hostnet is what the network of a host needs for a cluster: the names in
// /etc/hosts, name servers for pods, a route to Services, the keeper of the virtual
// address; and what is taken away of pods' networks afterwards.
package hostnet

import (
	"context"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Net is what the network of a host needs for a cluster: names, name servers of pods, a route to Services.
type Net struct{ *site.Site }

// Settle gives hosts what the site's network lacks for a cluster. It is looked at on every run: a host that was
// moved to another network is put right by the next.
func (n Net) Settle(ctx context.Context, changes *atomic.Int64) error {
	networks, err := n.ServedNetworks()
	if err != nil {
		return err
	}
	asked := n.NetworksToAsk()
	return n.Each(ctx, n.Targets, func(ctx context.Context, t *fleet.Target) error {
		changed, err := n.settleResolver(ctx, t)
		if changed {
			changes.Add(1)
		}
		if err != nil {
			return err
		}
		changed, err = n.settleServiceRoute(ctx, t, networks, asked)
		if changed {
			changes.Add(1)
		}
		return err
	})
}
