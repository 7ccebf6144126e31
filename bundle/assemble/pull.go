package assemble

import (
	"context"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// PullRequest says which cluster image to take from a registry.
type PullRequest struct {
	Ref       string        // as NAME:TAG, of registries.conf's registries when it is short
	Platforms []v1.Platform // empty: this machine's

	IgnoreScanErrors bool // report what may hide images and go on
}

// Pull takes a cluster image out of a registry into the store, unchanged, with every container image it needs: those pushed with
// it, those in the registry directory of one made by sealos, and those that its charts, manifests and lists name.
func (b *Builder) Pull(ctx context.Context, r PullRequest) (store.Record, error) {
	name, err := store.Name(r.Ref)
	if err != nil {
		return store.Record{}, err
	}
	if len(r.Platforms) == 0 {
		if r.Platforms, err = store.ParsePlatforms(""); err != nil {
			return store.Record{}, err
		}
	}
	b.report().Phase("pull "+name, 0)
	root, from, err := b.resolver().Fetch(ctx, name, r.Platforms)
	if err != nil {
		return store.Record{}, err
	}
	if len(r.Platforms) == 1 {
		// Of an index, one platform's image is what was asked for.
		if root, err = b.Store.OfPlatform(root, r.Platforms[0]); err != nil {
			return store.Record{}, err
		}
	}
	rec := store.Record{
		Name:     name,
		Manifest: root,
		Platform: store.FormatPlatforms(r.Platforms),
		Created:  time.Now().UTC().Format(time.RFC3339),
		Inputs:   []store.Input{{Kind: "registry", Name: from, Value: root.Digest.String()}},
	}
	brought, err := b.brought(ctx, name, from, root, r.Platforms, r.IgnoreScanErrors)
	if err != nil {
		return store.Record{}, err
	}
	rec.Images, rec.Unresolved, rec.Charts, rec.Registry = brought.Images, brought.Unresolved, brought.Charts, brought.Registry
	return b.record(rec, r.Platforms)
}

// brought gathers what an image of a registry needs: what was pushed with it,
// else what its layers name. from is the reference it was found under, empty if it came from no registry.
func (b *Builder) brought(ctx context.Context, name, from string, root v1.Descriptor, platforms []v1.Platform, ignoreErrors bool) (*attachment, error) {
	images, err := b.ofEach(name, root, platforms)
	if err != nil {
		return nil, err
	}
	if len(images) == 1 {
		root = images[0].Manifest
	}
	if from != "" {
		if attached, err := b.attached(ctx, from, root, platforms); attached != nil || err != nil {
			return attached, err
		}
	}
	needed, err := b.needed(ctx, images, ignoreErrors)
	if err != nil {
		return nil, err
	}
	settled, err := resolve.Settle(b.Store, needed.Claims)
	if err != nil {
		return nil, err
	}
	b.resolver().NoteForeign(settled, needed)
	return &attachment{Images: settled, Unresolved: needed.Unresolved, Charts: needed.Charts, Registry: needed.Registry}, nil
}
