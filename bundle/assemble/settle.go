package assemble

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// claim says which image a reference means on the hosts of some platforms.
type claim struct {
	store.Pinned
	of    []string // platforms of the cluster image
	level int      // the lowest one decides
}

// claims makes a claim for each image, for those platforms that the image itself names. An image that names none of them counts for
// all: there is no other.
func claims(images []store.Pinned, platforms []v1.Platform, level int) []claim {
	var all []claim
	for _, p := range images {
		c := claim{Pinned: p, level: level}
		for _, platform := range platforms {
			want := store.Platform(platform)
			if slices.Contains(p.Platforms, want) || sameFamily(p.Platforms, want) {
				c.of = append(c.of, want)
			}
		}
		if len(c.of) == 0 {
			for _, platform := range platforms {
				c.of = append(c.of, store.Platform(platform))
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

// settle gives every reference one image, in which hosts of every platform find theirs. Where the claims of platforms differ it is
// an index made of them, as a registry would hold it: a node asks by a name that says no platform. Claims of one level that differ
// for one platform are a *ConflictError.
func (b *Builder) settle(all []claim) ([]store.Pinned, error) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(x, y claim) int { return cmp.Or(cmp.Compare(x.Ref, y.Ref), x.level-y.level) })
	var images []store.Pinned
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Ref == all[0].Ref {
			n++
		}
		if err := servable(all[0].Ref, all[0].Found); err != nil {
			return nil, err
		}
		p, err := b.settleOne(all[:n])
		if err != nil {
			return nil, err
		}
		images = append(images, p)
		all = all[n:]
	}
	return images, nil
}

// settleOne does it for the claims of one reference, which are sorted.
func (b *Builder) settleOne(all []claim) (store.Pinned, error) {
	decided := map[string]claim{} // by platform
	var used []claim
	for _, c := range all {
		use := false
		for _, platform := range c.of {
			before, ok := decided[platform]
			if ok && before.level == c.level && before.Digest != c.Digest {
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
	if slices.ContainsFunc(used, func(c claim) bool { return c.Digest != first.Digest }) {
		return b.indexOf(first, decided)
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
	return b.pinAgain(first, v1.Descriptor{MediaType: first.MediaType, Digest: first.Digest}, platforms)
}

// meant are those of an image's platforms that the claim is about.
func (c claim) meant() []string {
	var some []string
	for _, have := range c.Platforms {
		if slices.Contains(c.of, have) || sameFamily(c.of, have) {
			some = append(some, have)
		}
	}
	if len(some) == 0 {
		return c.Platforms
	}
	return some
}

// indexOf makes the index that holds every platform's image.
func (b *Builder) indexOf(first store.Pinned, decided map[string]claim) (store.Pinned, error) {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	var platforms []string
	for _, platform := range slices.Sorted(maps.Keys(decided)) {
		c := decided[platform]
		child, err := b.childFor(c.Pinned, platform)
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
	root, err := b.putJSON(v1.MediaTypeImageIndex, index)
	if err != nil {
		return store.Pinned{}, err
	}
	return b.pinAgain(first, root, platforms)
}

// pinAgain keeps where an image was found.
func (b *Builder) pinAgain(p store.Pinned, root v1.Descriptor, platforms []string) (store.Pinned, error) {
	pinned, err := pull.Pin(b.Store, pull.Wanted{Ref: p.Ref, Places: []store.Found{p.Found}}, root, platforms...)
	if err != nil {
		return store.Pinned{}, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	return pinned, nil
}

// childFor is what an index says of an image's manifest for a platform; nil when the image is not for it.
func (b *Builder) childFor(p store.Pinned, platform string) (*v1.Descriptor, error) {
	m, err := ocigraph.Read(b.Store, p.Digest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", p.Ref, err)
	}
	if m.Config != nil {
		if len(p.Platforms) != 1 || p.Platforms[0] != platform && !sameFamily(p.Platforms, platform) {
			return nil, nil
		}
		return &v1.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: m.Size, Platform: platformOf(p.Platforms[0])}, nil
	}
	var loose *v1.Descriptor
	for _, child := range m.Manifests {
		if _, ok := b.Store.Has(child.Digest); child.Platform == nil || !ok {
			continue
		}
		have := store.Platform(*child.Platform)
		found := &v1.Descriptor{MediaType: child.MediaType, Digest: child.Digest, Size: child.Size, Platform: child.Platform}
		if have == platform {
			return found, nil
		}
		if loose == nil && sameFamily([]string{have}, platform) {
			loose = found
		}
	}
	return loose, nil
}

// platformOf reads what store.Platform wrote.
func platformOf(text string) *v1.Platform {
	parts := append(strings.SplitN(text, "/", 3), "", "")
	return &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}
