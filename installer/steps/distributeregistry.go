package steps

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/registry"
)

// registryAccess is how the cluster's registry is reached and where it keeps its data.
//
// There are two accounts. The one that images know from their environment
// (registryUsername, registryPassword) is what every host has in its files: it
// can only pull, since a host that falls into somebody's hands must not be able
// to change what the others run. To push and delete takes another, whose
// password lies on masters alone. So what hosts have need not change when a
// cluster of before learns of the second account: the masters' registries know
// the first as one that pulls, from the next run on.
//
// Registry programs that images made for sealos bring know no such difference:
// they have the first account only, and it may do everything.
type registryAccess struct {
	user, password         string
	pushUser, pushPassword string
	port, domain, data     string
}

// accounts are those that the registry of a host knows.
func (r *Run) accounts(t *Target) []registry.Account {
	a := r.registry
	if r.plainRegistry(t) {
		return []registry.Account{{User: a.user, Password: a.password}}
	}
	return []registry.Account{{User: a.user, Password: a.password, PullOnly: true}, {User: a.pushUser, Password: a.pushPassword}}
}

// Catalog lists every container image of the bundle as the registry holds it.
func Catalog(ctx context.Context, b *bundle.Reader) (registry.Catalog, error) {
	var refs []registry.Ref
	for _, i := range b.Images() {
		if i.Kind == bundle.KindImage {
			refs = append(refs, registry.Ref{Name: i.Name, Digest: i.Digest})
		}
	}
	catalog, err := registry.BuildCatalog(ctx, refs, Source(b))
	if err != nil {
		return registry.Catalog{}, fmt.Errorf("list the images of the bundle: %w", err)
	}
	return catalog, nil
}

// distributeRegistry sends every registry host the blobs it lacks. The hosts
// pass them on to each other while they arrive, so that this machine's line
// carries each blob once.
func (r *Run) distributeRegistry(ctx context.Context) (installer.Result, error) {
	catalog, err := Catalog(ctx, r.Bundle)
	if err != nil {
		return installer.Result{}, err
	}
	if r.plainRegistry(r.master0()) {
		catalog = r.withShortNames(catalog)
	}
	hosts := r.registryHosts()
	var fanout *registry.Fanout
	if len(hosts) > 1 {
		fanout = new(registry.Fanout)
	}
	var changes, sent, passed atomic.Int64
	// All at once whatever --jobs says: a host that waits for its turn could take nothing from the others.
	err = each(ctx, hosts, len(hosts), func(ctx context.Context, t *Target) error {
		var receipt registry.Receipt
		err := t.Agent.RegistryReceive(ctx, r.registry.data, func(w io.Writer, in io.Reader) (err error) {
			receipt, err = registry.Push(ctx, w, in, catalog, Source(r.Bundle), registry.PushOptions{All: r.Copy, Fanout: fanout, Address: t.IP.String()})
			return err
		})
		if err != nil {
			return fmt.Errorf("fill the registry in %s: %w", r.registry.data, err)
		}
		changes.Add(int64(receipt.BlobsSent + receipt.BlobsPassed))
		sent.Add(receipt.BytesSent)
		passed.Add(receipt.BytesPassed)
		return nil
	})
	note := fmt.Sprintf("%d blobs, %s sent", changes.Load(), humanize.IBytes(uint64(sent.Load())))
	if n := passed.Load(); n > 0 {
		note += fmt.Sprintf(", %s passed on between hosts", humanize.IBytes(uint64(n)))
	}
	return installer.Result{Changes: int(changes.Load()), Note: note}, err
}
