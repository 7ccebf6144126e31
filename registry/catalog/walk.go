package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Ref names an image of a source: Name is a docker reference (registry.k8s.io/pause:3.10), Digest that of its manifest or index.
type Ref struct {
	Name   string
	Digest digest.Digest
}

// Beside names what lies in the image's repository under its digest alone, as a referrer does.
func (r Ref) Beside(d digest.Digest) Ref {
	name, _, _ := strings.Cut(r.Name, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	return Ref{Name: name + "@" + d.String(), Digest: d}
}

// BuildCatalog finds every blob that refs reach in src by reading their manifests. Children of an index that
// src lacks (other platforms) are left out; a missing config or layer is an error, except a layer that
// may not be distributed. All the refs that fail are reported together.
func Build(ctx context.Context, refs []Ref, src Source) (Catalog, error) {
	c, err := NewWalker(src, nil).Build(ctx, refs)
	if err != nil {
		return Catalog{}, err
	}
	return c, nil
}

// Build returns the catalog of refs as far as it was found, and an error for the refs that failed.
func (w Walker) Build(ctx context.Context, refs []Ref) (Catalog, error) {
	repos := map[string]*Builder{}
	var errs []error
	// A tag beside a digest only informs: it gives way to one that stands alone.
	refs = slices.Clone(refs)
	slices.SortStableFunc(refs, func(a, b Ref) int { return cmp.Compare(pinned(a), pinned(b)) })
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
			b = NewBuilder(name)
			repos[name] = b
		}
		if err := w.Add(b, ref.Digest); err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", ref.Name, err))
			continue
		}
		if tag == "" {
			continue
		}
		if old, ok := b.Repo.Tags[tag]; ok && old != ref.Digest {
			if pinned(ref) > 0 {
				continue // it is asked for by its digest
			}
			errs = append(errs, fmt.Errorf("image %s: the tag names both %s and %s: %w", ref.Name, old, ref.Digest, ErrInvalid))
			continue
		}
		b.Repo.Tags[tag] = ref.Digest
	}
	var c Catalog
	for _, b := range repos {
		c.Repositories = append(c.Repositories, b.Repo)
	}
	slices.SortFunc(c.Repositories, func(a, b Repository) int { return strings.Compare(a.Name, b.Name) })
	return c, errors.Join(errs...)
}

// pinned returns 1 for a reference that names its digest, else 0.
func pinned(r Ref) int { return strings.Count(r.Name, "@") }

// Builder gathers what one repository links to.
type Builder struct {
	Repo Repository
	Have map[digest.Digest]bool
}

// NewBuilder returns the builder of a repository that links to nothing yet.
func NewBuilder(name string) *Builder {
	return &Builder{
		Repo: Repository{Name: name, Tags: map[string]digest.Digest{}},
		Have: map[digest.Digest]bool{},
	}
}

// Walker finds what manifests reach in a source. It remembers manifests, since images share them and many refs may name one.
type Walker struct {
	src     Source
	seen    map[digest.Digest]ocigraph.Manifest
	missing func(Blob) // see NewWalker
}

// NewWalker returns a walker over src. missing is told of configs and layers that are not there; nil makes them an error.
func NewWalker(src Source, missing func(Blob)) Walker {
	return Walker{src: src, seen: map[digest.Digest]ocigraph.Manifest{}, missing: missing}
}

// Add adds the manifest or index d, and everything it reaches, to a repository.
func (w Walker) Add(b *Builder, d digest.Digest) error {
	if b.Have[d] {
		return nil
	}
	err := ocigraph.Walk(v1.Descriptor{Digest: d}, ocigraph.Visitor{
		Load:     func(d v1.Descriptor) (ocigraph.Manifest, error) { return w.read(d.Digest) },
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) { return w.children(b, n) },
		Leaf:     func(n ocigraph.Node, leaf v1.Descriptor) error { return w.addBlob(b, n.Digest, leaf) },
		Done: func(n ocigraph.Node) error {
			b.Have[n.Digest] = true
			b.Repo.Manifests = append(b.Repo.Manifests, Blob{Digest: n.Digest, Size: n.Manifest.Size})
			return nil
		},
	})
	if beyond := new(ocigraph.LimitError); errors.As(err, &beyond) {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return err
}

// children adds the blobs of an index that are no manifests, and returns those of its manifests that the source has and that are
// not known yet.
func (w Walker) children(b *Builder, index ocigraph.Node) (manifests []v1.Descriptor, err error) {
	for _, child := range index.Manifest.Manifests {
		if err := (Blob{Digest: child.Digest, Size: child.Size}).Check(); err != nil {
			return nil, fmt.Errorf("index %s: %w", index.Digest, err)
		}
		_, ok := w.src.Stat(child.Digest)
		switch {
		case !ok || b.Have[child.Digest]:
		case ocigraph.IsManifest(child.MediaType):
			manifests = append(manifests, child)
		default:
			if err := w.addBlob(b, index.Digest, child); err != nil {
				return nil, err
			}
		}
	}
	return manifests, nil
}

func (w Walker) addBlob(b *Builder, parent digest.Digest, desc v1.Descriptor) error {
	if b.Have[desc.Digest] {
		return nil
	}
	blob := Blob{Digest: desc.Digest, Size: desc.Size}
	if err := blob.Check(); err != nil {
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
	b.Have[desc.Digest] = true
	b.Repo.Layers = append(b.Repo.Layers, blob)
	return nil
}

func (w Walker) read(d digest.Digest) (ocigraph.Manifest, error) {
	if m, ok := w.seen[d]; ok {
		return m, nil
	}
	size, ok := w.src.Stat(d)
	if !ok {
		return ocigraph.Manifest{}, fmt.Errorf("manifest %s is missing", d)
	}
	if err := (Blob{Digest: d, Size: size}).Check(); err != nil {
		return ocigraph.Manifest{}, err
	}
	if err := ocigraph.CheckSize(d, size); err != nil {
		return ocigraph.Manifest{}, err
	}
	r, err := w.src.OpenBlob(d)
	if err != nil {
		return ocigraph.Manifest{}, fmt.Errorf("open manifest %s: %w", d, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, ocigraph.MaxManifest+1))
	if err != nil {
		return ocigraph.Manifest{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	if int64(len(data)) != size || digest.FromBytes(data) != d {
		return ocigraph.Manifest{}, fmt.Errorf("manifest %s: content does not match the digest: %w", d, ErrInvalid)
	}
	m, err := ocigraph.Parse(d, data)
	switch {
	case err != nil:
		return ocigraph.Manifest{}, fmt.Errorf("%w: %w", err, ErrInvalid)
	case m.SchemaVersion != 2:
		return ocigraph.Manifest{}, fmt.Errorf("manifest %s: schema version %d is not served by registries any more: %w", d, m.SchemaVersion, ErrInvalid)
	case len(m.Manifests) > 0 && m.Config != nil:
		return ocigraph.Manifest{}, fmt.Errorf("manifest %s: both an index and an image: %w", d, ErrInvalid)
	}
	w.seen[d] = m
	return m, nil
}

// undistributable says whether a layer is one that registries do not have to hold: clients fetch it from its maker.
func undistributable(mediaType string) bool {
	return strings.Contains(mediaType, "nondistributable") || strings.Contains(mediaType, ".foreign.")
}
