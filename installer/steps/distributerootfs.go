package steps

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/nodes"
)

// distributeRootfs streams the layers of the rootfs and patches to every host
// and those of the applications to master0, and lays the rendered files over
// them. Layers travel as they are compressed in the bundle.
func (r *Run) distributeRootfs(ctx context.Context) (installer.Result, error) {
	var changes, sent atomic.Int64
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := r.recordChecks(ctx); err != nil {
		return installer.Result{}, err
	}
	switched, err := r.UseStubs(ctx)
	if err != nil {
		return installer.Result{}, fmt.Errorf("put this run's installer into use: %w", err)
	}
	changes.Add(int64(switched))
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		for _, dir := range r.Share(t).Dirs() {
			changed, n, err := r.dirs.Fill(ctx, t, dir)
			if err != nil {
				return fmt.Errorf("unpack images into %s: %w", dir, err)
			}
			changes.Add(int64(changed))
			sent.Add(n)
		}
		changed, err := r.dirs.WriteOverlays(ctx, t)
		changes.Add(int64(changed))
		return err
	})
	return installer.Result{Changes: int(changes.Load()), Note: humanize.IBytes(uint64(sent.Load())) + " sent"}, err
}

// begin notes on every host that this cluster is being made there, before
// anything else is changed: what is found there later is ours to finish, or to
// take away. The Clusterfile says from now on that work is going on.
func (r *Run) begin(ctx context.Context) error {
	var fresh []*fleet.Target
	for _, t := range r.Targets {
		if !t.Journal.Has(journal.Begun) {
			fresh = append(fresh, t)
		}
	}
	if err := r.Ledger.Begin(); err != nil {
		return err
	}
	// What a reset that was cut off has cleaned is not clean any more, and what a run that was killed has checked from goes.
	err := r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		return errors.Join(t.Journal.Drop(ctx, journal.Cleaned), t.Agent.Remove(ctx, []string{r.Dir("check")}))
	})
	if err != nil {
		return err
	}
	return r.Each(ctx, fresh, func(ctx context.Context, t *fleet.Target) error {
		return t.Journal.Set(ctx, journal.Begun, nodes.BegunWith(r.Cluster.Name, t.Facts.KubeletDir))
	})
}
