package assemble

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
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
	rec.Images, rec.Unresolved = brought.Images, brought.Unresolved
	return b.record(rec, r.Platforms)
}

// brought gathers what an image of a registry needs: what was pushed with it,
// else what its layers name. from is the reference it was found under.
func (b *Builder) brought(ctx context.Context, name, from string, root v1.Descriptor, platforms []v1.Platform, ignoreErrors bool) (*attachment, error) {
	images, err := b.ofEach(name, root, platforms)
	if err != nil {
		return nil, err
	}
	if len(images) == 1 {
		root = images[0].Manifest
	}
	if attached, err := b.attached(ctx, from, root, platforms); attached != nil || err != nil {
		return attached, err
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
	return &attachment{Images: settled, Unresolved: needed.Unresolved}, nil
}

// attachment is what is pushed beside a cluster image: the list of the
// container images it needs. Their blobs are the artifact's other layers.
type attachment struct {
	Platforms  string         `json:"platforms"` // of the cluster image, as a record has them
	Images     []store.Pinned `json:"images"`
	Unresolved []store.Found  `json:"unresolved,omitempty"`
}

const (
	attachmentType = "application/vnd.sealbuild.images.v1"
	attachmentList = "application/vnd.sealbuild.images.v1+json"
)

// attachmentRef is where the attachment of an image lies: in the image's own repository, under a tag made of its digest.
func attachmentRef(ref string, image digest.Digest) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", ref, err)
	}
	tagged, err := reference.WithTag(reference.TrimNamed(named), "sha256-"+image.Encoded()+".images")
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", ref, err)
	}
	return tagged.String(), nil
}

// attached takes over what was pushed with an image; nil if nothing was.
func (b *Builder) attached(ctx context.Context, from string, root v1.Descriptor, platforms []v1.Platform) (*attachment, error) {
	ref, err := attachmentRef(from, root.Digest)
	if err != nil {
		return nil, err
	}
	got, err := pull.Gather(ctx, b.Store, []pull.Wanted{{Ref: ref, Suspected: true}}, b.resolver().Options(platforms[:1]))
	if err != nil {
		return nil, err
	}
	for _, f := range got.Absent {
		if !pull.NotFound(f.Err) { // a list that is there must not be taken for none
			return nil, fmt.Errorf("look for the images pushed with %s: %w", from, f.Err)
		}
	}
	if len(got.Images) == 0 {
		return nil, nil
	}
	m, err := ocigraph.Read(b.Store, got.Images[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	i := slices.IndexFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType == attachmentList })
	if i < 0 {
		return nil, fmt.Errorf("%s is no list of images that sealbuild made: remove that tag from the registry", ref)
	}
	raw, err := b.Store.ReadBlob(m.Layers[i].Digest, maxAttachment)
	if err != nil {
		return nil, err
	}
	var a attachment
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	for _, p := range a.Images {
		if _, err := b.Store.Walk(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, indexPlatforms(p)...); err != nil {
			return nil, fmt.Errorf("%s: %s: %w (push the image again)", ref, p.Ref, err)
		}
	}
	if a.Platforms == "" { // pushed before lists said it: all of it is taken
		return &a, nil
	}
	of, err := store.ParsePlatforms(a.Platforms)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	if a.Images, err = resolve.For(b.Store, a.Images, of, platforms); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return &a, nil
}

// maxAttachment bounds the list, in bytes.
const maxAttachment = 64 << 20

// indexPlatforms are the platforms that are meant of an index.
func indexPlatforms(p store.Pinned) []string {
	if !ocigraph.IsIndex(p.MediaType) {
		return nil
	}
	return p.Platforms
}
