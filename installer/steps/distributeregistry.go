package steps

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// distributeRegistry sends the registry of every master the blobs that it lacks. The masters pass blobs on to each other
// while these arrive, so that the line of this machine carries each blob once.
func (r *Run) distributeRegistry(ctx context.Context) (installer.Result, error) {
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	catalog, err := r.registry.Images(ctx, r.Report.Warnf)
	if err == nil {
		err = r.registry.NoteBundle(ctx, agent.BundleComes)
	}
	if err != nil {
		return installer.Result{}, err
	}
	hosts := r.Masters()
	var fanout *storesync.Fanout
	if len(hosts) > 1 {
		fanout = new(storesync.Fanout)
	}
	var changes, sent, passed atomic.Int64
	// All at once whatever --jobs says: a host that waits for its turn could take nothing from the others.
	err = fleet.Each(ctx, hosts, len(hosts), func(ctx context.Context, t *fleet.Target) (err error) {
		work := r.Report.Does(t.IP.String(), "gets images", 0)
		defer func() { work.End(err) }()
		var receipt storesync.Receipt
		err = t.Agent.RegistryReceive(ctx, r.Access().Data, func(w io.Writer, in io.Reader) (err error) {
			receipt, err = storesync.Push(ctx, w, in, catalog, payload.Source(r.Payload.Bundle), storesync.PushOptions{
				All: r.Copy, Fanout: fanout, Address: t.IP.String(), Progress: work.Did, Left: work.Of,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("fill the registry in %s: %w", r.Access().Data, err)
		}
		r.Changed(t, receipt.BlobsSent+receipt.BlobsPassed)
		changes.Add(int64(receipt.BlobsSent + receipt.BlobsPassed))
		sent.Add(receipt.BytesSent)
		passed.Add(receipt.BytesPassed)
		return nil
	})
	r.brought = err == nil
	var note string
	if n := changes.Load(); n > 0 {
		note = fmt.Sprintf("%s, %s sent", count.Of(n, "blob"), humanize.IBytes(uint64(sent.Load())))
	}
	if n := passed.Load(); n > 0 {
		note += fmt.Sprintf(", %s passed on between hosts", humanize.IBytes(uint64(n)))
	}
	return installer.Result{Changes: int(changes.Load()), Note: note}, err
}
