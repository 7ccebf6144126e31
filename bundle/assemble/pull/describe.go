package pull

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// PlatformError is an image that does not exist for a wanted platform.
type PlatformError struct {
	Want string
	Have []string
}

func (e *PlatformError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("no image for %s: it is an index that names no image at all", e.Want)
	}
	return fmt.Sprintf("no image for %s; it exists for %s", e.Want, strings.Join(e.Have, ", "))
}

// describe resolves a reference: its manifest, the manifests of the wanted platforms below it, and the blobs they name.
func (g *gatherer) describe(ctx context.Context, w Wanted) (*image, []v1.Descriptor, error) {
	named, err := reference.ParseNormalizedNamed(w.Ref)
	if err != nil {
		return nil, nil, notImage{fmt.Errorf("not an image reference: %w", err)}
	}
	d := &describing{gatherer: g, img: &image{wanted: w}}
	if d.img.remote, err = g.remotes.locate(reference.TagNameOnly(withoutTag(named))); err != nil {
		return nil, nil, err
	}
	_, d.pinned = named.(reference.Digested)
	if root := d.known(ctx, named); root != "" {
		leaves, err := d.below(ctx, v1.Descriptor{Digest: root})
		if err == nil && d.allStored(leaves) {
			if err := g.allowed(ctx, withoutTag(named), root); err != nil {
				return nil, nil, err
			}
			return d.img, nil, nil
		}
	}
	raw, mediaType, err := g.manifest(ctx, w, d.img.remote, "")
	if err != nil {
		return d.img, nil, d.asBefore(ctx, named, err)
	}
	root := digest.FromBytes(raw)
	if err := g.allowed(ctx, withoutTag(named), root); err != nil {
		return nil, nil, err
	}
	if !slices.Contains(manifest.DefaultRequestedManifestMIMETypes, mediaType) {
		mediaType = manifest.GuessMIMEType(raw) // what a file server or a proxy makes of it
	}
	d.from, d.fetched = inRegistry{g, w, d.img.remote}, map[digest.Digest][]byte{root: raw}
	leaves, err := d.below(ctx, v1.Descriptor{Digest: root, MediaType: mediaType, Size: int64(len(raw))})
	if err != nil {
		return nil, nil, err
	}
	return d.img, leaves, nil
}

// withoutTag drops the tag of a reference that has a digest too: beside a digest it only informs the reader.
func withoutTag(named reference.Named) reference.Named {
	if pinned, ok := named.(reference.Digested); ok {
		if bare, err := reference.WithDigest(reference.TrimNamed(named), pinned.Digest()); err == nil {
			return bare
		}
	}
	return named
}

// known is the digest of an image that the store may have: the reference's own
// or, of a tag that was gathered before, what the registry says it is now.
func (d *describing) known(ctx context.Context, named reference.Named) digest.Digest {
	if pinned, ok := named.(reference.Digested); ok {
		return pinned.Digest()
	}
	if !d.gatherer.known[d.img.wanted.Ref] {
		return ""
	}
	root, err := d.gatherer.current(ctx, d.img.remote)
	if err != nil {
		return "" // asking for the manifest itself tells why
	}
	return root
}

// source is where the documents of an image are that the store lacks.
type source interface {
	manifest(ctx context.Context, d digest.Digest) ([]byte, error)
	config(ctx context.Context, d v1.Descriptor) error // it is in the store then
}

// describing is the walk down from one reference.
type describing struct {
	gatherer *gatherer
	img      *image
	pinned   bool   // hosts will ask for this very digest
	from     source // nil: only the store is asked
	fetched  map[digest.Digest][]byte
}

func (d *describing) platforms() []v1.Platform {
	if len(d.img.wanted.Platforms) > 0 {
		return d.img.wanted.Platforms
	}
	return d.gatherer.options.Platforms
}

// below finds the images of the wanted platforms, and returns the configs and layers that they need.
func (d *describing) below(ctx context.Context, root v1.Descriptor) (leaves []v1.Descriptor, err error) {
	d.img.root, d.img.manifests, d.img.order, d.img.platforms = root, map[string][]byte{}, nil, nil
	d.img.plain, d.img.unchecked = nil, nil
	top, err := d.load(ctx, root)
	if err != nil {
		return nil, err
	}
	ways := map[digest.Digest][]v1.Descriptor{}
	if top.Config != nil {
		err = d.image(ctx, *top.Config)
	} else {
		ways, err = d.index(ctx, root, top)
	}
	if err != nil {
		return nil, err
	}
	err = ocigraph.Walk(root, ocigraph.Visitor{
		Load:     func(m v1.Descriptor) (ocigraph.Manifest, error) { return d.load(ctx, m) },
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) { return ways[n.Digest], nil },
		Leaf: func(n ocigraph.Node, leaf v1.Descriptor) error {
			if err := leaf.Digest.Validate(); err != nil || leaf.Size < 0 {
				return fmt.Errorf("manifest %s: bad descriptor %q of %d bytes", n.Digest, leaf.Digest, leaf.Size)
			}
			leaves = append(leaves, leaf)
			return nil
		},
		Done: func(n ocigraph.Node) error {
			d.img.order = append(d.img.order, string(n.Digest))
			return nil
		},
	})
	return leaves, err
}

// load reads a manifest, and takes of it what its type says it is.
func (d *describing) load(ctx context.Context, desc v1.Descriptor) (ocigraph.Manifest, error) {
	raw, err := d.read(ctx, desc.Digest)
	if err != nil {
		return ocigraph.Manifest{}, err
	}
	m, err := ocigraph.Parse(desc.Digest, raw)
	if err != nil {
		return ocigraph.Manifest{}, err
	}
	mediaType := desc.MediaType
	if mediaType == "" {
		mediaType = manifest.GuessMIMEType(raw)
	}
	switch {
	case manifest.MIMETypeIsMultiImage(mediaType):
		m.Config, m.Layers = nil, nil
	case m.Config == nil && isSchema1(mediaType), m.Config == nil && m.SchemaVersion == 1:
		return m, schema1(desc.Digest)
	case m.Config == nil:
		return m, notImage{fmt.Errorf("manifest %s of type %s names no config: it is not a container image", desc.Digest, mediaType)}
	default:
		m.Manifests = nil
	}
	d.img.manifests[string(desc.Digest)] = raw
	return m, nil
}

// read returns a manifest from what was just fetched, the store or the registry, in this order.
func (d *describing) read(ctx context.Context, dgst digest.Digest) ([]byte, error) {
	if raw, ok := d.fetched[dgst]; ok {
		return raw, nil
	}
	if _, ok := d.gatherer.store.Has(dgst); ok {
		return d.gatherer.store.ReadBlob(dgst, ocigraph.MaxManifest)
	}
	if d.from == nil {
		return nil, store.ErrIncomplete
	}
	raw, err := d.from.manifest(ctx, dgst)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", dgst, err)
	}
	d.fetched[dgst] = raw
	return raw, nil
}

func (d *describing) allStored(leaves []v1.Descriptor) bool {
	for _, leaf := range leaves {
		if _, ok := d.gatherer.store.Has(leaf.Digest); !ok {
			return false
		}
	}
	return true
}
