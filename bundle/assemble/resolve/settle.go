package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// claim says which image a reference means on the hosts of some platforms.
type Claim struct {
	store.Pinned
	Of    []string // platforms of the cluster image
	Level int      // the lowest one decides
}

// claims makes a claim for each image, for those platforms that the image itself names. An image that names none of them counts for
// all: there is no other.
func Claims(images []store.Pinned, platforms []v1.Platform, level int) []Claim {
	var all []Claim
	for _, p := range images {
		c := Claim{Pinned: p, Level: level}
		for _, platform := range platforms {
			want := store.Platform(platform)
			if slices.Contains(p.Platforms, want) || store.SameFamily(p.Platforms, want) {
				c.Of = append(c.Of, want)
			}
		}
		if len(c.Of) == 0 {
			for _, platform := range platforms {
				c.Of = append(c.Of, store.Platform(platform))
			}
		}
		all = append(all, c)
	}
	return all
}

// ConflictError is a reference that means two images on hosts of one platform.
type ConflictError struct {
	Ref, Platform string
	One, Other    store.Pinned
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s is two images for %s: %s (%s) and %s (%s): make both names mean the same, or bundle for one platform at a time",
		e.Ref, e.Platform, e.One.Digest, origin(e.One), e.Other.Digest, origin(e.Other))
}

func origin(p store.Pinned) string {
	text := "for " + strings.Join(p.Platforms, ", ")
	if p.File != "" {
		text += ", of " + p.File
	}
	if p.Line > 0 {
		text += fmt.Sprintf(":%d", p.Line)
	}
	return text
}

// Settle gives every reference one image, in which hosts of every platform find theirs. Where the claims of platforms differ it is
// an index made of them, as a registry would hold it: a node asks by a name that says no platform. Claims of one level that differ
// for one platform are a *ConflictError.
func Settle(st *store.Store, all []Claim) ([]store.Pinned, error) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(x, y Claim) int { return cmp.Or(cmp.Compare(x.Ref, y.Ref), x.Level-y.Level) })
	var images []store.Pinned
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Ref == all[0].Ref {
			n++
		}
		if err := servable(all[0].Ref, all[0].Found); err != nil {
			return nil, err
		}
		p, err := settleOne(st, all[:n])
		if err != nil {
			return nil, err
		}
		p.Also = mentions(p.Found, all[:n])
		images = append(images, p)
		all = all[n:]
	}
	return images, nil
}

// mentions are the places that claim a reference, each once, but for the first.
func mentions(first store.Found, all []Claim) []store.Found {
	var also []store.Found
	for _, c := range all {
		for _, f := range c.Mentions() {
			if f.File != "" && (f.File != first.File || f.Line != first.Line) &&
				!slices.ContainsFunc(also, func(o store.Found) bool { return o.File == f.File && o.Line == f.Line }) {
				also = append(also, f)
			}
		}
	}
	return also
}

// twice is a *ConflictError if archives give one reference two images for a platform.
func twice(all []Claim) error {
	for i, c := range all {
		for _, before := range all[:i] {
			if before.Ref != c.Ref || before.Digest == c.Digest {
				continue
			}
			for _, platform := range c.Of {
				if slices.Contains(before.Of, platform) {
					return &ConflictError{c.Ref, platform, before.Pinned, c.Pinned}
				}
			}
		}
	}
	return nil
}

// settleOne does it for the claims of one reference, which are sorted.
func settleOne(st *store.Store, all []Claim) (store.Pinned, error) {
	decided := map[string]Claim{} // by platform
	var used []Claim
	for _, c := range all {
		use := false
		for _, platform := range c.Of {
			before, ok := decided[platform]
			if ok && before.Level == c.Level && before.Digest != c.Digest {
				return store.Pinned{}, &ConflictError{c.Ref, platform, before.Pinned, c.Pinned}
			}
			if !ok {
				decided[platform] = c
				use = true
			}
			use = use || before.Digest == c.Digest
		}
		if use {
			used = append(used, c)
		}
	}
	first := used[0].Pinned
	if slices.ContainsFunc(used, func(c Claim) bool { return c.Digest != first.Digest }) {
		return indexOf(st, first, decided)
	}
	var platforms []string
	for _, c := range used {
		platforms = append(platforms, c.meant()...)
	}
	slices.Sort(platforms)
	platforms = slices.Compact(platforms)
	if slices.Equal(platforms, first.Platforms) {
		return first, nil
	}
	return pinAgain(st, first, v1.Descriptor{MediaType: first.MediaType, Digest: first.Digest}, platforms)
}

// meant are those of an image's platforms that the claim is about.
func (c Claim) meant() []string {
	var some []string
	for _, have := range c.Platforms {
		if slices.Contains(c.Of, have) || store.SameFamily(c.Of, have) {
			some = append(some, have)
		}
	}
	if len(some) == 0 {
		return c.Platforms
	}
	return some
}

// indexOf makes the index that holds every platform's image.
func indexOf(st *store.Store, first store.Pinned, decided map[string]Claim) (store.Pinned, error) {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	var platforms []string
	for _, platform := range slices.Sorted(maps.Keys(decided)) {
		c := decided[platform]
		child, err := childFor(st, c.Pinned, platform)
		if err != nil {
			return store.Pinned{}, err
		}
		if child == nil {
			other := first
			for _, o := range decided {
				if o.Digest != c.Digest {
					other = o.Pinned
				}
			}
			return store.Pinned{}, fmt.Errorf("%s has no image for %s to stand beside another platform's: it is %s (%s), and elsewhere %s (%s); bundle for one platform at a time",
				first.Ref, platform, c.Digest, origin(c.Pinned), other.Digest, origin(other))
		}
		index.Manifests = append(index.Manifests, *child)
		platforms = append(platforms, store.Platform(*child.Platform))
	}
	root, err := st.PutJSON(v1.MediaTypeImageIndex, index)
	if err != nil {
		return store.Pinned{}, err
	}
	return pinAgain(st, first, root, platforms)
}

// pinAgain keeps where an image was found.
func pinAgain(st *store.Store, p store.Pinned, root v1.Descriptor, platforms []string) (store.Pinned, error) {
	pinned, err := store.Pin(st, p.Found, root, platforms...)
	if err != nil {
		return store.Pinned{}, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	return pinned, nil
}

// childFor is what an index says of an image's manifest for a platform; nil when the image is not for it.
func childFor(st *store.Store, p store.Pinned, platform string) (*v1.Descriptor, error) {
	m, err := ocigraph.Read(st, p.Digest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	if m.Config != nil {
		if len(p.Platforms) != 1 || p.Platforms[0] != platform && !store.SameFamily(p.Platforms, platform) {
			return nil, nil
		}
		return &v1.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: m.Size, Platform: store.PlatformOf(p.Platforms[0])}, nil
	}
	var loose *v1.Descriptor
	for _, child := range m.Manifests {
		if _, ok := st.Has(child.Digest); child.Platform == nil || !ok {
			continue
		}
		have := store.Platform(*child.Platform)
		found := &v1.Descriptor{MediaType: child.MediaType, Digest: child.Digest, Size: child.Size, Platform: child.Platform}
		if have == platform {
			return found, nil
		}
		if loose == nil && store.SameFamily([]string{have}, platform) {
			loose = found
		}
	}
	return loose, nil
}

// For returns those images that hosts of some of the platforms get, of an index their part of it.
func For(st *store.Store, images []store.Pinned, all, some []v1.Platform) ([]store.Pinned, error) {
	var kept []Claim
	for _, c := range Claims(images, all, 0) {
		c.Of = slices.DeleteFunc(c.Of, func(name string) bool {
			return !slices.ContainsFunc(some, func(p v1.Platform) bool { return store.Platform(p) == name })
		})
		if len(c.Of) > 0 {
			kept = append(kept, c)
		}
	}
	return Settle(st, kept)
}
