package hostregistry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/sealos"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Images lists what the bundle brings to the registries of the cluster. warn is told of names that two images have.
func (g *Registry) Images(ctx context.Context, warn func(format string, args ...any)) (catalog.Catalog, error) {
	images, err := payload.Catalog(ctx, g.Payload.Bundle)
	if err == nil && g.PlainRegistry(g.Master0()) {
		images = sealos.ShortNames(images, warn)
	}
	return images, err
}

// NoteBundle has the registry of every master remember what the bundle brings, and how far the cluster is with it. So a collection
// knows what only bundles of before have brought.
func (g *Registry) NoteBundle(ctx context.Context, state agent.BundleState) error {
	images, err := g.Images(ctx, func(string, ...any) {})
	if err != nil {
		return err
	}
	b, err := payload.Brings(g.Payload.Bundle, images)
	if err != nil {
		return err
	}
	record, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return g.Each(ctx, g.Masters(), func(ctx context.Context, t *fleet.Target) error {
		if err := t.Agent.RecordBundle(ctx, agent.BundleRequest{Root: g.Access().Data, Bundle: record, State: state}); err != nil {
			return fmt.Errorf("record in the registry what the bundle brings: %w", err)
		}
		return nil
	})
}
