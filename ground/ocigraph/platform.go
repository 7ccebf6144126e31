package ocigraph

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxUnnamed bounds how many documents are read below one index to find out for which platforms its images are.
const MaxUnnamed = 256

// Platforms reads what tells for which platforms the images below an index are.
type Platforms struct {
	// Load reads a manifest or an index. What it returns empty counts for nothing: it is not there.
	Load func(d v1.Descriptor) (Manifest, error)
	// Of reads the platform out of an image's config.
	Of func(config v1.Descriptor) (v1.Platform, error)
}

// Entry is an image below an index.
type Entry struct {
	v1.Descriptor                 // Platform is what the index says, else the image's config
	Way           []v1.Descriptor // indexes between the root and the image
	Named         bool            // the index above it says its platform
}

// Direct tells whether the root itself names the image and its platform.
func (e Entry) Direct() bool { return e.Named && len(e.Way) == 0 }

// Entries lists the images below an index, however deep: at each level first those whose platform is said there, then those
// whose own documents have to say it. What is no image, as the attestations of a build, is left out.
func (p Platforms) Entries(root v1.Descriptor, index Manifest) ([]Entry, error) {
	l := &listing{Platforms: p, root: root.Digest, seen: map[digest.Digest]bool{root.Digest: true}}
	err := l.below(index, nil)
	return l.all, err
}

type listing struct {
	Platforms
	root digest.Digest
	seen map[digest.Digest]bool
	read int
	all  []Entry
}

func (l *listing) below(index Manifest, way []v1.Descriptor) error {
	for _, named := range []bool{true, false} {
		for _, child := range index.Manifests {
			if named != names(child) || named && child.Platform.OS == "unknown" || attests(child) {
				continue
			}
			if err := l.child(child, way); err != nil {
				return err
			}
		}
	}
	return nil
}

// names tells whether an entry says its platform: some tools write an empty one.
func names(child v1.Descriptor) bool {
	return child.Platform != nil && child.Platform.Architecture != ""
}

// attests tells whether an entry is about an image instead of being one.
func attests(child v1.Descriptor) bool {
	return child.ArtifactType != "" || child.Annotations["vnd.docker.reference.type"] != ""
}

func (l *listing) child(child v1.Descriptor, way []v1.Descriptor) error {
	if len(way) >= MaxNesting {
		return &LimitError{Digest: child.Digest, Nesting: MaxNesting}
	}
	if names(child) && child.MediaType != "" && !IsIndex(child.MediaType) {
		l.all = append(l.all, Entry{Descriptor: child, Way: way, Named: true})
		return nil
	}
	if child.MediaType != "" && !IsManifest(child.MediaType) || l.seen[child.Digest] {
		return nil
	}
	l.seen[child.Digest] = true
	if l.read++; l.read > MaxUnnamed {
		return fmt.Errorf("index %s: more than %d images and indexes in it name no platform", l.root, MaxUnnamed)
	}
	m, err := l.Load(child)
	if err != nil {
		return err
	}
	if len(m.Manifests) > 0 {
		return l.below(m, append(slices.Clone(way), child))
	}
	if m.Config == nil {
		return nil
	}
	e := Entry{Descriptor: child, Way: way, Named: names(child)}
	if !e.Named {
		of, err := l.Of(*m.Config)
		if err != nil {
			return err
		}
		if of.OS == "unknown" {
			return nil
		}
		e.Platform = &of
	}
	l.all = append(l.all, e)
	return nil
}

// ForHost goes down an index as hosts do: at each level to what says their platform, else to the first entry that says none.
func (p Platforms) ForHost(index Manifest, want v1.Platform) (v1.Descriptor, bool, error) {
	for range MaxNesting {
		at := Choose(index.Manifests, want)
		if at < 0 {
			at = slices.IndexFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Platform == nil })
		}
		if at < 0 {
			return v1.Descriptor{}, false, nil
		}
		child := index.Manifests[at]
		m, err := p.Load(child)
		if err != nil || m.Config != nil || len(m.Manifests) == 0 {
			return child, m.Config != nil, err
		}
		index = m
	}
	return v1.Descriptor{}, false, nil
}

// Choose finds a platform's entry among those that name theirs, or returns -1: the one that containerd takes on a host of it, of
// equal ones the first. Where that takes none, another variant of the architecture is chosen; whether hosts can run it is not said
// here.
func Choose(index []v1.Descriptor, want v1.Platform) int {
	best, least := -1, 0
	for i, d := range index {
		p := d.Platform
		if p == nil || p.OS != want.OS || p.Architecture != want.Architecture {
			continue
		}
		rank, ok := variantRank(p.Architecture, p.Variant, want.Variant)
		if ok && (best < 0 || rank < least) {
			best, least = i, rank
		}
	}
	return best
}

// variantRank orders the variants of an architecture for a host, the best first. A host that says none is what containerd takes it
// for: arm64 of v8, arm of v7.
func variantRank(arch, variant, host string) (rank int, ok bool) {
	usual := map[string]string{"arm64": "v8", "arm": "v7", "amd64": "v1"}[arch]
	if variant == "" {
		variant = usual
	}
	if host == "" || host == usual {
		switch {
		case variant == usual:
			return 0, true
		case arch == "arm" && variant == "v6":
			return 1, true
		case arch == "arm" && variant == "v5":
			return 2, true
		}
		return 3, host == ""
	}
	if variant == host {
		return 0, true
	}
	return 1, variant == usual
}
