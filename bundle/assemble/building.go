package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// inputBuild is the kind of the record's input that names everything an image was built from; its name is the platform.
const inputBuild = "build"

// buildPart makes the image of one platform: it takes the one that was made from the same inputs, if the store still has it, else
// it runs buildah in a directory of the store's session and moves what came of it into the store.
func (b *Builder) buildPart(ctx context.Context, p *building, r BuildRequest) error {
	scratch, err := b.Store.TempDir("build")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	edits, exclude := p.src.registryEdits()
	if len(exclude) > 0 {
		b.report().Note("registry/ of the context is left out of the image: what it holds is held once, in the bundle")
	}
	req := build.Request{
		Context:  p.src.dir,
		Kubefile: p.src.path,
		Edits:    edits,
		Exclude:  append(exclude, r.Exclude...),
		Args:     r.Args,
		Labels:   r.Labels,
		Env:      r.Env,
		Platform: p.platform,
		Epoch:    b.Epoch,
		Scratch:  scratch,
		System:   b.System,
		Log:      b.log(),
	}
	for _, base := range p.preload {
		req.Preload = append(req.Preload, build.Preload{Name: base.name, Digest: base.root.Digest, Platform: base.platform})
	}
	cache := ""
	if !r.NoCache {
		cache = b.cacheFile("context", p.src.dir)
	}
	if p.key, err = build.Key(ctx, req, p.src.file.Reads(), cache); err != nil {
		return err
	}
	if p.key != "" && !r.NoCache {
		if built, ok, err := b.builtBefore(p.key, p.platform); err != nil || ok {
			p.built = built
			return err
		}
	}
	for i, base := range p.preload {
		req.Preload[i].Layout = filepath.Join(scratch, fmt.Sprintf("base-%d", i))
		if err := b.layout(req.Preload[i].Layout, base.root, base.platform); err != nil {
			return fmt.Errorf("base image %s: %w", base.name, err)
		}
	}
	res, err := build.Build(ctx, req)
	if err != nil {
		return err
	}
	p.built = res.Descriptor
	return b.Store.ImportLayout(ctx, res.Layout)
}

// layout makes an OCI layout below the store's temporary directory that holds
// an image, of the given platforms, and no bytes of its own.
func (b *Builder) layout(dir string, root v1.Descriptor, platforms ...v1.Platform) error {
	blobs := []digest.Digest{root.Digest}
	for _, p := range platforms {
		one, err := b.ofPlatform(root, p)
		if err != nil {
			return err
		}
		below, err := b.Store.Walk(one)
		if err != nil {
			return err
		}
		for _, blob := range below {
			blobs = append(blobs, blob.Digest)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for _, d := range blobs {
		err := b.Store.LinkBlob(d, filepath.Join(dir, "blobs", "sha256", d.Encoded()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{root},
	})
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), index, 0o644))
}

// cacheFile is the file that caches what is known of the thing called name; kind says what sort of thing it is. The directory of
// these files may be removed at any time.
func (b *Builder) cacheFile(kind, name string) string {
	if abs, err := filepath.Abs(name); err == nil && kind == "context" {
		name = abs
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(b.Store.Root(), "cache", kind+"-"+hex.EncodeToString(sum[:8])+".json")
}

// builtBefore finds a complete image of the store that was built from the same inputs.
func (b *Builder) builtBefore(key digest.Digest, platform v1.Platform) (v1.Descriptor, bool, error) {
	all, err := b.Store.List()
	if err != nil {
		return v1.Descriptor{}, false, err
	}
	for _, rec := range all {
		for _, in := range rec.Inputs {
			if in.Kind != inputBuild || in.Value != key.String() || in.Name != store.Platform(platform) {
				continue
			}
			d, err := b.ofPlatform(rec.Manifest, platform)
			if err != nil {
				continue // damaged: it is built again
			}
			if _, err := b.Store.Walk(d); err == nil {
				return d, true, nil
			}
		}
	}
	return v1.Descriptor{}, false, nil
}

// ofPlatform is the image of a platform in an index, or the image itself.
func (b *Builder) ofPlatform(d v1.Descriptor, platform v1.Platform) (v1.Descriptor, error) {
	m, err := ocigraph.Read(b.Store, d.Digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if m.Config != nil {
		return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: m.Size}, nil
	}
	want := store.Platform(platform)
	var loose *v1.Descriptor
	for _, child := range m.Manifests {
		if child.Platform == nil {
			continue
		}
		have := store.Platform(*child.Platform)
		if _, ok := b.Store.Has(child.Digest); ok && sameFamily([]string{have}, want) && loose == nil {
			loose = &child
		}
		if have == want {
			loose = &child
			break
		}
	}
	if loose == nil {
		return v1.Descriptor{}, fmt.Errorf("index %s holds no image for %s", d.Digest, want)
	}
	return v1.Descriptor{MediaType: loose.MediaType, Digest: loose.Digest, Size: loose.Size}, nil
}

// config reads the config of a stored image for a platform.
func (b *Builder) config(d v1.Descriptor, platform v1.Platform) (v1.Image, error) {
	one, err := b.ofPlatform(d, platform)
	if err != nil {
		return v1.Image{}, err
	}
	m, err := ocigraph.Read(b.Store, one.Digest)
	if err != nil {
		return v1.Image{}, err
	}
	if m.Config == nil {
		return v1.Image{}, fmt.Errorf("manifest %s of type %s names no config", one.Digest, one.MediaType)
	}
	return ocigraph.ReadConfig(b.Store, m.Config.Digest)
}
