package assemble

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// An image that is built here says in its manifest which container images it needs, so whoever knows it by its digest knows them
// too, and nobody can lead it elsewhere by writing another list beside it. Builders that build upon an image take its annotations
// over, so the second one says of which image the first one is.
const (
	needsAnnotation  = "io.sealbuild.images"        // digest of needs
	configAnnotation = "io.sealbuild.images.config" // digest of the image's config; an index has none
)

// needs is the digest of what an image needs: each reference with its digest and platforms, in the order of references.
func needs(images []store.Pinned) (digest.Digest, error) {
	type need struct {
		Ref       string        `json:"ref"`
		Digest    digest.Digest `json:"digest"`
		Platforms []string      `json:"platforms"`
	}
	all := []need{}
	for _, p := range images {
		all = append(all, need{p.Ref, p.Digest, p.Platforms})
	}
	slices.SortFunc(all, func(x, y need) int { return cmp.Compare(x.Ref, y.Ref) })
	raw, err := json.Marshal(all)
	return digest.FromBytes(raw), err
}

// bind writes into the manifest of each platform's image, and into the index of them, what it needs.
func (b *Builder) bind(parts []building, images []store.Pinned, platforms []v1.Platform) error {
	for i := range parts {
		mine, err := resolve.For(b.Store, images, platforms, []v1.Platform{parts[i].platform})
		if err != nil {
			return err
		}
		raw, err := b.Store.ReadBlob(parts[i].built.Digest, ocigraph.MaxManifest)
		if err != nil {
			return err
		}
		var m v1.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("read manifest %s: %w", parts[i].built.Digest, err)
		}
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		d, err := needs(mine)
		if err != nil {
			return err
		}
		m.Annotations[needsAnnotation], m.Annotations[configAnnotation] = d.String(), m.Config.Digest.String()
		if parts[i].built, err = b.Store.PutJSON(m.MediaType, m); err != nil {
			return err
		}
	}
	return nil
}

// bound is what an image or index of the store says that it needs; empty when it does not say it.
func (b *Builder) bound(root digest.Digest) (digest.Digest, error) {
	raw, err := b.Store.ReadBlob(root, ocigraph.MaxManifest)
	if err != nil {
		return "", err
	}
	var m struct {
		Config      *v1.Descriptor
		Annotations map[string]string
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("read manifest %s: %w", root, err)
	}
	if m.Config != nil && m.Annotations[configAnnotation] != m.Config.Digest.String() {
		return "", nil // of the image that it was built upon, by another builder
	}
	return digest.Digest(m.Annotations[needsAnnotation]), nil
}

// attachment is what is pushed beside a cluster image: the list of the
// container images it needs. Their blobs are the artifact's other layers.
type attachment struct {
	Platforms  string         `json:"platforms"` // of the cluster image, as a record has them
	Images     []store.Pinned `json:"images"`
	Unresolved []store.Found  `json:"unresolved,omitempty"`
	Charts     *store.Charts  `json:"charts,omitempty"`
	Registry   bool           `json:"registry,omitempty"`
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

// attached takes over what was pushed with an image; nil if nothing was, or if it is not to be trusted. from is the reference that
// the image was found under.
func (b *Builder) attached(ctx context.Context, from string, root v1.Descriptor, platforms []v1.Platform) (*attachment, error) {
	says, err := b.bound(root.Digest)
	if err != nil {
		return nil, err
	}
	if says == "" && strings.Contains(from, "@") {
		// The digest vouches for the image, and nothing for a list that anybody may have put beside it since.
		return nil, nil
	}
	a, ref, err := b.readAttached(ctx, from, root, platforms)
	if a == nil || err != nil {
		return nil, err
	}
	if is, err := needs(a.Images); err != nil || says != "" && is != says {
		return nil, errors.Join(err, fmt.Errorf("%s is not the list that %s names: somebody wrote another one beside the image. "+
			"Push the image again, or remove that tag from the registry and the image will be searched", ref, from))
	}
	for _, p := range a.Images {
		if _, err := b.Store.Walk(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, indexPlatforms(p)...); err != nil {
			return nil, fmt.Errorf("%s: %s: %w (push the image again)", ref, p.Ref, err)
		}
		if err := pull.Allowed(ctx, b.Store, b.System, p.Ref, p.Digest); err != nil {
			return nil, fmt.Errorf("%s brings %s: %w", ref, p.Ref, err)
		}
		b.report().Note(fmt.Sprintf("with %s comes %s, %s", from, p.Ref, p.Digest))
	}
	if a.Platforms == "" { // pushed before lists said it: all of it is taken
		return a, nil
	}
	of, err := store.ParsePlatforms(a.Platforms)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	if a.Images, err = resolve.For(b.Store, a.Images, of, platforms); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return a, nil
}

// readAttached fetches the list that lies beside an image, and everything it names; nil if there is none.
func (b *Builder) readAttached(ctx context.Context, from string, root v1.Descriptor, platforms []v1.Platform) (*attachment, string, error) {
	ref, err := attachmentRef(from, root.Digest)
	if err != nil {
		return nil, "", err
	}
	got, err := pull.Gather(ctx, b.Store, []pull.Wanted{{Ref: ref, Suspected: true}}, b.resolver().Options(platforms[:1]))
	if err != nil {
		return nil, ref, err
	}
	for _, f := range got.Absent {
		if !pull.NotFound(f.Err) { // a list that is there must not be taken for none
			return nil, ref, fmt.Errorf("look for the images pushed with %s: %w", from, f.Err)
		}
	}
	if len(got.Images) == 0 { // a tool that copies images with what refers to them may have left the tag behind
		if ref, err = b.referrer(ctx, from, root); ref == "" || err != nil {
			return nil, ref, err
		}
		if got, err = pull.Gather(ctx, b.Store, []pull.Wanted{{Ref: ref}}, b.resolver().Options(platforms[:1])); err != nil {
			return nil, ref, err
		}
	}
	m, err := ocigraph.Read(b.Store, got.Images[0].Digest)
	if err != nil {
		return nil, ref, fmt.Errorf("read %s: %w", ref, err)
	}
	i := slices.IndexFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType == attachmentList })
	if i < 0 {
		return nil, ref, fmt.Errorf("%s is no list of images that sealbuild made: remove that tag from the registry", ref)
	}
	if m.Subject != nil && m.Subject.Digest != root.Digest {
		return nil, ref, fmt.Errorf("%s is the list of %s, not of %s: remove that tag from the registry", ref, m.Subject.Digest, root.Digest)
	}
	raw, err := b.Store.ReadBlob(m.Layers[i].Digest, maxAttachment)
	if err != nil {
		return nil, ref, err
	}
	var a attachment
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, ref, fmt.Errorf("read %s: %w", ref, err)
	}
	return &a, ref, nil
}

// referrer is the list that a registry knows to be about an image; empty if it knows none.
func (b *Builder) referrer(ctx context.Context, from string, root v1.Descriptor) (string, error) {
	lists, err := pull.Referrers(ctx, b.Store, b.resolver().Options(nil), from, root.Digest, attachmentType)
	if err != nil || len(lists) == 0 {
		return "", err
	}
	named, err := reference.ParseNormalizedNamed(from)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", from, err)
	}
	return reference.TrimNamed(named).String() + "@" + lists[len(lists)-1].Digest.String(), nil
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

// attach makes the artifact that carries container images of a record: every blob of them, manifests included, is one of its
// layers, so that a registry keeps them without asking for platforms that nobody wanted.
func (b *Builder) attach(rec store.Record, image digest.Digest, images []store.Pinned, platforms []v1.Platform) (v1.Descriptor, error) {
	list, err := b.Store.PutJSON(attachmentList, attachment{
		Platforms: store.FormatPlatforms(platforms), Images: images, Unresolved: rec.Unresolved, Charts: rec.Charts, Registry: rec.Registry,
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	empty, err := b.Store.PutJSON(v1.MediaTypeEmptyJSON, struct{}{})
	if err != nil {
		return v1.Descriptor{}, err
	}
	is, err := ocigraph.Read(b.Store, image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	subject := v1.Descriptor{MediaType: is.MediaType, Digest: image, Size: is.Size}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: attachmentType,
		Config: empty, Layers: []v1.Descriptor{list}, Subject: &subject,
	}
	seen := map[digest.Digest]bool{}
	for _, p := range images {
		blobs, err := b.Store.Walk(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, indexPlatforms(p)...)
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("image %s: %w (build or pull %s again)", p.Ref, err, rec.Name)
		}
		for _, blob := range blobs {
			if !seen[blob.Digest] {
				seen[blob.Digest] = true
				m.Layers = append(m.Layers, v1.Descriptor{MediaType: "application/octet-stream", Digest: blob.Digest, Size: blob.Size})
			}
		}
	}
	return b.Store.PutJSON(v1.MediaTypeImageManifest, m)
}
