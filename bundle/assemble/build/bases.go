package build

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/distribution/reference"
	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// openBases opens the scratch storage and puts the images into it that the Kubefile names. The overlay driver is tried first: it
// copies no lower layer. It unpacks each layer alone, though: where one holds a hard link to a file of a layer below, the images
// are loaded once more by vfs, which has the files of all layers at hand. It also returns annotations of the image to be built.
func openBases(ctx context.Context, r Request, sys *types.SystemContext) (storage.Store, []string, error) {
	var annotations []string
	for _, p := range r.Preload {
		was, err := readable(p.Layout)
		if err == nil {
			err = check(p)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("base image %s: %w", p.Name, err)
		}
		if p.Below && was != "" {
			annotations = []string{v1.AnnotationBaseImageDigest + "=" + was.String()}
		}
	}
	dir := filepath.Join(r.Scratch, "storage")
	scratch, err := openScratch(dir, "overlay", "vfs")
	if err != nil {
		return nil, nil, err
	}
	err = preloadAll(ctx, scratch, sys, r.Preload)
	if link := new(linkError); errors.As(err, &link) && scratch.GraphDriverName() == "overlay" {
		fmt.Fprintf(r.Log, "layer %s holds a hard link to a file of a layer below: layers are copied, not laid over each other, which takes longer\n", link.layer)
		if err := closeScratch(scratch); err != nil {
			return nil, nil, err
		}
		if err := os.RemoveAll(filepath.Join(dir, "overlay")); err != nil {
			return nil, nil, fmt.Errorf("clear build storage: %w", err)
		}
		if scratch, err = openScratch(dir, "vfs"); err != nil {
			return nil, nil, err
		}
		err = preloadAll(ctx, scratch, sys, r.Preload)
	}
	if err != nil {
		return nil, nil, errors.Join(err, closeScratch(scratch))
	}
	return scratch, annotations, nil
}

func preloadAll(ctx context.Context, scratch storage.Store, sys *types.SystemContext, all []Preload) error {
	for _, p := range all {
		if err := preload(ctx, scratch, sys, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("base image %s: %w", p.Name, explain(p, err))
		}
	}
	return nil
}

// preload copies an image of a layout into the scratch storage, under the name that buildah gives to what FROM says.
func preload(ctx context.Context, scratch storage.Store, sys *types.SystemContext, p Preload) error {
	name, err := reference.ParseNormalizedNamed(p.Name)
	if err != nil {
		return err
	}
	src, err := layout.NewReference(p.Layout, "")
	if err != nil {
		return err
	}
	// A short name is looked up under localhost/ first.
	tagged := reference.TagNameOnly(name).String()
	if shortnames.IsShortName(p.Name) {
		tagged = "localhost/" + strings.TrimPrefix(strings.TrimPrefix(tagged, "docker.io/"), "library/")
	}
	dst, err := istorage.Transport.ParseStoreReference(scratch, tagged)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }()
	from := *sys
	if p.Platform.Architecture != "" {
		from.OSChoice, from.ArchitectureChoice, from.VariantChoice = p.Platform.OS, p.Platform.Architecture, p.Platform.Variant
	}
	_, err = copy.Image(ctx, policy, dst, complete{src}, &copy.Options{SourceCtx: &from, DestinationCtx: sys})
	return err
}

// complete is an image of a layout that holds all of it, also layers that say that they lie elsewhere.
type complete struct{ types.ImageReference }

func (c complete) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := c.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return completeSource{src}, nil
}

type completeSource struct{ types.ImageSource }

func (c completeSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	info.URLs = nil
	return c.ImageSource.GetBlob(ctx, info, cache)
}

// Docker's schema 2 has no media type for layers of zstd, and registries hold such images all the same.
const (
	dockerZstd = `"application/vnd.docker.image.rootfs.diff.tar.zstd"`
	dockerGzip = `"application/vnd.docker.image.rootfs.diff.tar.gzip"` // as long: sizes stay
)

// readable makes an image of a layout one that containers/image takes. It refuses Docker's manifests with layers of zstd for the
// name alone; it tells a compression by the first bytes, so under the name of gzip they are read as they are. Only the manifests in
// the layout change: the store keeps the image, and the record its digest. It returns the digest that the image's manifest had, if
// it has another now.
func readable(dir string) (was digest.Digest, err error) {
	file := filepath.Join(dir, v1.ImageIndexFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return "", err
	}
	for i, d := range index.Manifests {
		if index.Manifests[i].Digest, err = rename(dir, d.Digest, &was, 0); err != nil {
			return "", err
		}
	}
	if was == "" {
		return "", nil
	}
	if raw, err = json.Marshal(index); err != nil {
		return "", err
	}
	return was, os.WriteFile(file, raw, 0o644)
}

// rename writes what readable changes of one manifest or index, and gives its digest then.
func rename(dir string, d digest.Digest, was *digest.Digest, depth int) (digest.Digest, error) {
	raw, err := os.ReadFile(blobFile(dir, d))
	if errors.Is(err, os.ErrNotExist) { // of another platform
		return d, nil
	}
	if err != nil {
		return d, err
	}
	m, err := ocigraph.Parse(d, raw)
	if err != nil {
		return d, err
	}
	text := strings.ReplaceAll(string(raw), dockerZstd, dockerGzip)
	for _, child := range m.Manifests {
		if depth == ocigraph.MaxNesting {
			return d, &ocigraph.LimitError{Digest: d, Nesting: depth}
		}
		now, err := rename(dir, child.Digest, was, depth+1)
		if err != nil {
			return d, err
		}
		text = strings.ReplaceAll(text, child.Digest.String(), now.String())
	}
	if text == string(raw) {
		return d, nil
	}
	if m.Config != nil {
		*was = d
	}
	now := digest.FromString(text)
	return now, os.WriteFile(blobFile(dir, now), []byte(text), 0o644)
}

func blobFile(layout string, d digest.Digest) string {
	return filepath.Join(layout, "blobs", d.Algorithm().String(), d.Encoded())
}

// linkError is a hard link to a file that its own layer does not hold.
type linkError struct {
	layer        digest.Digest
	name, target string
	err          error // of the storage
}

func (e *linkError) Error() string {
	return fmt.Sprintf("layer %s: %s is a hard link to %s, which its layer does not hold: %v", e.layer, e.name, e.target, e.err)
}

func (e *linkError) Unwrap() error { return e.err }

// takenLayers are the media types of layers that can be unpacked.
var takenLayers = regexp.MustCompile(`^application/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|` +
	`docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$`)

// maxWindow is the longest window of zstd that is taken: what zstd --long makes, and what the zstd program takes unasked, by which
// containers/storage unpacks where a machine has it. Hosts unpack no longer ones either.
const maxWindow = 128 << 20

// check refuses an image with a layer that could not be unpacked.
func check(p Preload) error {
	for _, layer := range layersOf(p) {
		if layer.docker && !strings.HasPrefix(layer.MediaType, "application/vnd.docker.") {
			return fmt.Errorf("layer %s has the media type %q, which a manifest of Docker's may not name: push the image again by a tool that writes one of OCI",
				layer.Digest, layer.MediaType)
		}
		if !takenLayers.MatchString(layer.MediaType) {
			return fmt.Errorf("layer %s has the media type %q, which cannot be unpacked: name an image whose layers are tar, gzip or zstd",
				layer.Digest, layer.MediaType)
		}
		if window := windowOf(blobFile(p.Layout, layer.Digest)); window > maxWindow {
			return fmt.Errorf("layer %s is compressed by zstd with a window of %s, and at most %s are taken: make the image again without --ultra, or with --long=27",
				layer.Digest, humanize.IBytes(window), humanize.IBytes(maxWindow))
		}
	}
	return nil
}

// windowOf is the window of a layer that is compressed by zstd, else 0.
func windowOf(layer string) uint64 {
	f, err := os.Open(layer)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, zstd.HeaderMaxSize)
	n, _ := io.ReadFull(f, head)
	var h zstd.Header
	if h.Decode(head[:n]) != nil {
		return 0
	}
	return h.WindowSize
}

// explain says of an image that could not be loaded which layer is to blame, and why.
func explain(p Preload, err error) error {
	for _, layer := range layersOf(p) {
		if !strings.Contains(err.Error(), layer.Digest.String()) {
			continue
		}
		if name, target := linkBelow(blobFile(p.Layout, layer.Digest)); target != "" {
			return &linkError{layer.Digest, name, target, err}
		}
		return fmt.Errorf("layer %s cannot be unpacked: %w", layer.Digest, err)
	}
	return fmt.Errorf("load it from the local store: %w", err)
}

// layer is one of an image; docker tells that the manifest which names it is Docker's.
type layer struct {
	v1.Descriptor
	docker bool
}

// layersOf are the layers of what lies in the layout.
func layersOf(p Preload) (layers []layer) {
	there := func(d v1.Descriptor) bool {
		_, err := os.Stat(blobFile(p.Layout, d.Digest))
		return err == nil
	}
	_ = ocigraph.Walk(v1.Descriptor{Digest: p.Digest}, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			raw, err := os.ReadFile(blobFile(p.Layout, d.Digest))
			if err != nil {
				return ocigraph.Manifest{}, err
			}
			return ocigraph.Parse(d.Digest, raw)
		},
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			return slices.DeleteFunc(n.Manifest.Manifests, func(d v1.Descriptor) bool { return !there(d) }), nil
		},
		Done: func(n ocigraph.Node) error {
			for _, d := range n.Manifest.Layers {
				layers = append(layers, layer{d, strings.HasPrefix(n.Manifest.MediaType, "application/vnd.docker.")})
			}
			return nil
		},
	})
	return layers
}

// linkBelow finds a hard link to a file that its layer does not hold; target is empty if there is none.
func linkBelow(layer string) (name, target string) {
	f, err := os.Open(layer)
	if err != nil {
		return "", ""
	}
	defer func() { _ = f.Close() }()
	plain, _, err := compression.AutoDecompress(f)
	if err != nil {
		return "", ""
	}
	defer func() { _ = plain.Close() }()
	held := map[string]bool{}
	for entries := tar.NewReader(plain); ; {
		h, err := entries.Next()
		if err != nil {
			return "", ""
		}
		if to := path.Clean("/" + h.Linkname); h.Typeflag == tar.TypeLink && !held[to] {
			return strings.TrimPrefix(path.Clean("/"+h.Name), "/"), to[1:]
		}
		held[path.Clean("/"+h.Name)] = true
	}
}
