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

// distributeRootfs unpacks the layers of the rootfs and patches on every host, and those of the applications on master0.
// Then it lays the rendered files over them. Layers are sent as they are compressed in the bundle.
func (r *Run) distributeRootfs(ctx context.Context) (installer.Result, error) {
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := r.recordChecks(ctx); err != nil {
		return installer.Result{}, err
	}
	switched := 0
	if !r.Payload.Adds() { // else the installer in use may be newer than this one, and stays
		var err error
		if switched, err = r.UseStubs(ctx); err != nil {
			return installer.Result{}, fmt.Errorf("put this run's installer into use: %w", err)
		}
	}
	var sent atomic.Int64 // bytes
	changes, err := r.Count(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) (changes int, err error) {
		for _, dir := range r.Share(t).Dirs() {
			changed, n, err := r.dirs.Fill(ctx, t, dir)
			if err != nil {
				return changes, fmt.Errorf("unpack images into %s: %w", dir, err)
			}
			changes += changed
			sent.Add(n)
		}
		changed, err := r.dirs.WriteOverlays(ctx, t)
		return changes + changed, err
	})
	return installer.Result{Changes: switched + changes, Note: sentInAll(sent.Load())}, err
}

// begin sets a mark on every host that this cluster is made there, before anything else is changed: what a later run finds
// there is its to finish, or to remove. From now on the record says that a run is at work.
func (r *Run) begin(ctx context.Context) error {
	fresh := fleet.Only(r.Targets, func(t *fleet.Target) bool { return !t.Journal.Has(journal.Begun) })
	expelled := fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Expelled })
	// Before the record has them again: the next run would take them for hosts that have joined.
	if r.Ledger.Begun {
		return nil
	}
	err := r.Each(ctx, expelled, func(ctx context.Context, t *fleet.Target) error { return t.Journal.Drop(ctx, journal.KubeadmDone) })
	if err == nil {
		err = r.Ledger.Begin()
	}
	if err != nil {
		return err
	}
	// A host that a reset, cut off later, has cleaned is not clean any more. The check script's directory of a killed run goes.
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		return errors.Join(t.Journal.Drop(ctx, journal.Cleaned), t.Agent.Remove(ctx, []string{r.Dir("check")}))
	})
	if err != nil {
		return err
	}
	return r.Each(ctx, fresh, func(ctx context.Context, t *fleet.Target) error {
		return t.Journal.Set(ctx, journal.Begun, nodes.BegunWith(r.Cluster.Name, t.Facts.KubeletDir))
	})
}

// sentInAll says how much was sent to hosts; empty for nothing.
func sentInAll(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return humanize.IBytes(uint64(bytes)) + " sent"
}
