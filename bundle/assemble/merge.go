package assemble

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// merge adds the images that another platform of a cluster image needs. One
// reference may be another image there: nodes of each platform get their own
// out of an index of both.
func (b *Builder) merge(images, more []store.Pinned) ([]store.Pinned, error) {
	all := slices.Clone(images)
	for _, p := range more {
		i := slices.IndexFunc(all, func(o store.Pinned) bool { return o.Ref == p.Ref })
		if i < 0 {
			all = append(all, p)
			continue
		}
		joined, err := b.joinPinned(all[i], p)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", p.Ref, err)
		}
		all[i] = joined
	}
	slices.SortFunc(all, func(x, y store.Pinned) int { return strings.Compare(x.Ref, y.Ref) })
	return all, nil
}

// joinPinned makes one image of two that have the same reference.
func (b *Builder) joinPinned(x, y store.Pinned) (store.Pinned, error) {
	wanted := pull.Wanted{Ref: x.Ref, Places: []store.Found{x.Found}}
	both := slices.Concat(x.Platforms, y.Platforms)
	slices.Sort(both)
	both = slices.Compact(both)
	if x.Digest == y.Digest {
		return pull.Pin(b.Store, wanted, v1.Descriptor{MediaType: x.MediaType, Digest: x.Digest, Size: x.ManifestSize}, both...)
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, platform := range both {
		d, err := b.choose(platform, x, y)
		if err != nil {
			return store.Pinned{}, err
		}
		index.Manifests = append(index.Manifests, d)
	}
	if len(index.Manifests) == 1 {
		return x, nil // both are for one platform, and the first was chosen
	}
	d, err := b.putJSON(v1.MediaTypeImageIndex, index)
	if err != nil {
		return store.Pinned{}, err
	}
	return pull.Pin(b.Store, wanted, d, both...)
}

// choose finds the image of a platform in the first of several that has one,
// and says so when another has another.
func (b *Builder) choose(platform string, of ...store.Pinned) (v1.Descriptor, error) {
	var chosen *v1.Descriptor
	for _, p := range of {
		if !slices.Contains(p.Platforms, platform) {
			continue
		}
		d, err := b.child(p, platform)
		if err != nil {
			return v1.Descriptor{}, err
		}
		switch {
		case chosen == nil:
			chosen = &d
		case chosen.Digest != d.Digest:
			b.report().Note(fmt.Sprintf("%s is %s and also %s, both for %s: the former is taken", p.Ref, chosen.Digest, d.Digest, platform))
		}
	}
	if chosen == nil {
		return v1.Descriptor{}, fmt.Errorf("none of its images is for %s", platform)
	}
	return *chosen, nil
}

// child is the image of a platform as an index names it.
func (b *Builder) child(p store.Pinned, platform string) (v1.Descriptor, error) {
	meant, err := platforms.Parse(platform)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("platform %q: %w", platform, err)
	}
	d := v1.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: p.ManifestSize}
	raw, err := b.Store.ReadBlob(p.Digest, store.MaxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var m store.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read manifest %s: %w", p.Digest, err)
	}
	if m.Config == nil {
		if d, err = b.ofPlatform(d, meant); err != nil {
			return v1.Descriptor{}, err
		}
	}
	d.Platform = &meant
	return d, nil
}
