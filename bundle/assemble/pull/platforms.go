package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// image checks that an image without an index is for every wanted platform. One whose config tells no architecture is taken at
// its word: it is what there is.
func (d *describing) image(ctx context.Context, config v1.Descriptor) error {
	of, err := d.config(ctx, config)
	if refused := new(StatusError); errors.As(err, &refused) {
		d.img.unchecked = d.platforms() // another repository may have it, as any blob
		return nil
	}
	if err != nil || d.img.wanted.Files {
		return err
	}
	return isFor(of, d.platforms())
}

// isFor returns a *PlatformError for an image that is not for every one of the platforms.
func isFor(of v1.Platform, platforms []v1.Platform) error {
	if of.Architecture == "" {
		return nil
	}
	for _, want := range platforms {
		if ocigraph.Choose([]v1.Descriptor{{Platform: &of}}, want) < 0 {
			return &PlatformError{Want: store.Platform(want), Have: []string{store.Platform(of)}}
		}
	}
	return nil
}

// index finds the wanted platforms' images below an index, and tells for each index on the way there what to take of it. Where
// hosts would not find them there, the image gets an index of its own that says their platforms, as a registry would hold it.
func (d *describing) index(ctx context.Context, root v1.Descriptor, top ocigraph.Manifest) (map[digest.Digest][]v1.Descriptor, error) {
	var missing error // manifests that the index names and the registry lacks
	reading := ocigraph.Platforms{
		Load: func(m v1.Descriptor) (ocigraph.Manifest, error) {
			read, err := d.load(ctx, m)
			if NotFound(err) || errors.As(err, new(absent)) {
				missing, err = errors.Join(missing, err), nil // another platform's, it may be
			}
			return read, err
		},
		Of: func(config v1.Descriptor) (v1.Platform, error) { return d.config(ctx, config) },
	}
	entries, err := reading.Entries(root, top)
	if err != nil {
		return nil, err
	}
	var index []v1.Descriptor
	var have []string
	for _, e := range entries {
		index = append(index, e.Descriptor)
		if e.Platform.Architecture != "" {
			have = append(have, store.Platform(*e.Platform))
		}
	}
	ways := map[digest.Digest][]v1.Descriptor{}
	direct := true
	var chosen []v1.Descriptor
	for _, want := range d.platforms() {
		at := ocigraph.Choose(index, want)
		if at < 0 && len(index) == 1 && index[0].Platform.Architecture == "" {
			at = 0 // as an image without an index
			if !d.kept() {
				index[0].Platform = &want
			}
		}
		if at < 0 {
			slices.Sort(have)
			return nil, errors.Join(missing, &PlatformError{Want: store.Platform(want), Have: slices.Compact(have)})
		}
		above := root.Digest
		for _, next := range append(slices.Clone(entries[at].Way), index[at]) {
			ways[above] = append(ways[above], next)
			above = next.Digest
		}
		direct = direct && entries[at].Direct()
		chosen = append(chosen, index[at])
		d.img.platforms = append(d.img.platforms, store.Platform(*index[at].Platform))
	}
	if direct {
		return ways, nil
	}
	if !d.kept() {
		d.img.plain = chosen
		return ways, nil
	}
	for i, want := range d.platforms() {
		found, ok, err := reading.ForHost(top, want)
		if err != nil {
			return nil, err
		}
		if !ok || found.Digest != chosen[i].Digest {
			return nil, notImage{fmt.Errorf("index %s does not say which of its images is for %s, and hosts would take another: pin that image by its own digest, %s, or tag an index that names platforms",
				root.Digest, store.Platform(want), chosen[i].Digest)}
		}
	}
	return ways, nil
}

// kept tells that hosts will ask for the digest of the index itself.
func (d *describing) kept() bool { return d.pinned && !d.img.wanted.Own }

// config reads an image's platform out of its config, which comes before its layers where it has to tell.
func (d *describing) config(ctx context.Context, config v1.Descriptor) (v1.Platform, error) {
	if err := config.Digest.Validate(); err != nil || config.Size < 0 {
		return v1.Platform{}, fmt.Errorf("bad descriptor of a config, %q of %d bytes", config.Digest, config.Size)
	}
	if err := ocigraph.CheckSize(config.Digest, config.Size); err != nil {
		return v1.Platform{}, err
	}
	if _, ok := d.gatherer.store.Has(config.Digest); !ok {
		if d.from == nil {
			return v1.Platform{}, store.ErrIncomplete
		}
		if err := d.from.config(ctx, config); err != nil {
			return v1.Platform{}, fmt.Errorf("config %s: %w", config.Digest, err)
		}
	}
	return store.ConfigPlatform(d.gatherer.store, config)
}

// inRegistry is where the documents of an image lie in a registry.
type inRegistry struct {
	*gatherer
	wanted Wanted
	remote remote
}

func (r inRegistry) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	raw, _, err := r.gatherer.manifest(ctx, r.wanted, r.remote, d)
	return raw, err
}

// config downloads a config, which several images may ask for at once.
func (r inRegistry) config(ctx context.Context, d v1.Descriptor) error {
	r.mu.Lock()
	one := r.configs[d.Digest]
	if one == nil {
		one = make(chan struct{}, 1)
		r.configs[d.Digest] = one
	}
	r.mu.Unlock()
	select {
	case one <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-one }()
	if _, ok := r.store.Has(d.Digest); ok {
		return nil
	}
	r.options.Progress.Expect(d.Size)
	if err := r.fetch(ctx, r.remote, d); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Blobs++
	return nil
}

func isSchema1(mediaType string) bool {
	return mediaType == manifest.DockerV2Schema1MediaType || mediaType == manifest.DockerV2Schema1SignedMediaType
}

// schema1 refuses a manifest of before 2016: its layers tell neither their sizes nor what they hold.
func schema1(d digest.Digest) error {
	return notImage{store.CheckKind(d, ocigraph.Manifest{SchemaVersion: 1})}
}
