package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxManifestSize  = 4 << 20 // what the registry accepts
	maxManifestDepth = 8       // indexes in indexes
)

// Ref names an image of a source: Name is a docker reference (registry.k8s.io/pause:3.10), Digest that of its
// manifest or index.
type Ref struct {
	Name   string
	Digest digest.Digest
}

// BuildCatalog finds every blob that refs reach in src by reading their manifests. Children of an index that
// src lacks (other platforms) are left out; a missing config or layer is an error, except a layer that
// may not be distributed. All the refs that fail are reported together.
func BuildCatalog(ctx context.Context, refs []Ref, src Source) (Catalog, error) {
	w := walker{src: src, seen: map[digest.Digest]manifest{}}
	c, err := w.catalog(ctx, refs)
	if err != nil {
		return Catalog{}, err
	}
	return c, nil
}

// catalog returns what it found of refs, and an error for those that failed.
func (w walker) catalog(ctx context.Context, refs []Ref) (Catalog, error) {
	repos := map[string]*repositoryBuilder{}
	var errs []error
	// A tag beside a digest only informs: it gives way to one that stands alone.
	refs = slices.Clone(refs)
	slices.SortStableFunc(refs, func(a, b Ref) int {
		switch {
		case pinned(a) == pinned(b):
			return 0
		case pinned(b):
			return -1
		}
		return 1
	})
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return Catalog{}, fmt.Errorf("build catalog: %w", err)
		}
		name, tag, err := RepositoryName(ref.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b := repos[name]
		if b == nil {
			b = newRepositoryBuilder(name)
			repos[name] = b
		}
		if err := w.add(b, ref.Digest, 0); err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", ref.Name, err))
			continue
		}
		if tag == "" {
			continue
		}
		if old, ok := b.repo.Tags[tag]; ok && old != ref.Digest {
			if pinned(ref) {
				continue // it is asked for by its digest
			}
			errs = append(errs, fmt.Errorf("image %s: the tag names both %s and %s: %w", ref.Name, old, ref.Digest, ErrInvalid))
			continue
		}
		b.repo.Tags[tag] = ref.Digest
	}
	var c Catalog
	for _, b := range repos {
		c.Repositories = append(c.Repositories, b.repo)
	}
	slices.SortFunc(c.Repositories, func(a, b Repository) int { return strings.Compare(a.Name, b.Name) })
	return c, errors.Join(errs...)
}

// pinned tells whether a reference names its digest.
func pinned(r Ref) bool { return strings.Contains(r.Name, "@") }

type repositoryBuilder struct {
	repo Repository
	have map[digest.Digest]bool
}

func newRepositoryBuilder(name string) *repositoryBuilder {
	return &repositoryBuilder{
		repo: Repository{Name: name, Tags: map[string]digest.Digest{}},
		have: map[digest.Digest]bool{},
	}
}

// manifest is what the walk keeps of a manifest or an index.
type manifest struct {
	size     int64
	children []v1.Descriptor // of an index
	blobs    []v1.Descriptor // config and layers
}

// walker remembers manifests, since images share them and many refs may name one.
type walker struct {
	src     Source
	seen    map[digest.Digest]manifest
	missing func(Blob) // told of configs and layers that are not there; nil makes them an error
}

func (w walker) add(b *repositoryBuilder, d digest.Digest, depth int) error {
	if b.have[d] {
		return nil
	}
	if depth > maxManifestDepth {
		return fmt.Errorf("manifest %s: indexes nested deeper than %d: %w", d, maxManifestDepth, ErrInvalid)
	}
	m, err := w.read(d)
	if err != nil {
		return err
	}
	for _, child := range m.children {
		if err := (Blob{Digest: child.Digest, Size: child.Size}).check(); err != nil {
			return fmt.Errorf("index %s: %w", d, err)
		}
		if _, ok := w.src.Stat(child.Digest); !ok {
			continue
		}
		if !isManifest(child.MediaType) {
			if err := w.addBlob(b, d, child); err != nil {
				return err
			}
			continue
		}
		if err := w.add(b, child.Digest, depth+1); err != nil {
			return err
		}
	}
	for _, desc := range m.blobs {
		if err := w.addBlob(b, d, desc); err != nil {
			return err
		}
	}
	b.have[d] = true
	b.repo.Manifests = append(b.repo.Manifests, Blob{Digest: d, Size: m.size})
	return nil
}

func (w walker) addBlob(b *repositoryBuilder, parent digest.Digest, desc v1.Descriptor) error {
	if b.have[desc.Digest] {
		return nil
	}
	blob := Blob{Digest: desc.Digest, Size: desc.Size}
	if err := blob.check(); err != nil {
		return fmt.Errorf("manifest %s: %w", parent, err)
	}
	size, ok := w.src.Stat(desc.Digest)
	switch {
	case !ok && undistributable(desc.MediaType):
		return nil
	case w.missing != nil && (!ok || size != desc.Size):
		w.missing(blob)
	case !ok:
		return fmt.Errorf("manifest %s: blob %s (%s) is missing", parent, desc.Digest, desc.MediaType)
	case size != desc.Size:
		return fmt.Errorf("manifest %s: blob %s has %d bytes, the manifest says %d: %w", parent, desc.Digest, size, desc.Size, ErrInvalid)
	}
	b.have[desc.Digest] = true
	b.repo.Layers = append(b.repo.Layers, blob)
	return nil
}

func (w walker) read(d digest.Digest) (manifest, error) {
	if m, ok := w.seen[d]; ok {
		return m, nil
	}
	size, ok := w.src.Stat(d)
	if !ok {
		return manifest{}, fmt.Errorf("manifest %s is missing", d)
	}
	if err := (Blob{Digest: d, Size: size}).check(); err != nil {
		return manifest{}, err
	}
	if size > maxManifestSize {
		return manifest{}, fmt.Errorf("manifest %s: %d bytes, more than %d: %w", d, size, maxManifestSize, ErrInvalid)
	}
	r, err := w.src.OpenBlob(d)
	if err != nil {
		return manifest{}, fmt.Errorf("open manifest %s: %w", d, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxManifestSize+1))
	if err != nil {
		return manifest{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	if int64(len(data)) != size || digest.FromBytes(data) != d {
		return manifest{}, fmt.Errorf("manifest %s: content does not match the digest: %w", d, ErrInvalid)
	}
	m, err := parseManifest(data)
	if err != nil {
		return manifest{}, fmt.Errorf("manifest %s: %w", d, err)
	}
	w.seen[d] = m
	return m, nil
}

func parseManifest(data []byte) (manifest, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        *v1.Descriptor  `json:"config"`
		Layers        []v1.Descriptor `json:"layers"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return manifest{}, fmt.Errorf("parse: %w: %w", err, ErrInvalid)
	}
	if doc.SchemaVersion != 2 {
		return manifest{}, fmt.Errorf("schema version %d is not served by registries any more: %w", doc.SchemaVersion, ErrInvalid)
	}
	m := manifest{size: int64(len(data)), children: doc.Manifests, blobs: doc.Layers}
	if doc.Config != nil {
		m.blobs = append([]v1.Descriptor{*doc.Config}, m.blobs...)
	}
	if len(doc.Manifests) > 0 && doc.Config != nil {
		return manifest{}, fmt.Errorf("both an index and an image: %w", ErrInvalid)
	}
	return m, nil
}

// manifestTypes are the media types of manifests and indexes.
var manifestTypes = []string{
	v1.MediaTypeImageManifest, v1.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
}

func isManifest(mediaType string) bool { return slices.Contains(manifestTypes, mediaType) }

// undistributable says whether a layer is one that registries do not have to hold: clients fetch it from its maker.
func undistributable(mediaType string) bool {
	return strings.Contains(mediaType, "nondistributable") || strings.Contains(mediaType, ".foreign.")
}
