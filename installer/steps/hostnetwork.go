package steps

import (
	"context"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer/fleet"
)

// settleNetwork gives hosts what the site's network lacks for a cluster. It is looked at on every run: a host that was
// moved to another network is put right by the next.
func (r *Run) settleNetwork(ctx context.Context, changes *atomic.Int64) error {
	networks, err := r.servedNetworks()
	if err != nil {
		return err
	}
	asked := r.networksToAsk()
	return r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		changed, err := r.settleResolver(ctx, t)
		changes.Add(int64(count(changed)))
		if err != nil {
			return err
		}
		changed, err = r.settleServiceRoute(ctx, t, networks, asked)
		changes.Add(int64(count(changed)))
		return err
	})
}
