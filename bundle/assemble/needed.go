package assemble

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// neededRevision is raised when the same layers give another answer.
const neededRevision = 2

// inside is what the layers of an image hold that makes a cluster pull images.
type inside struct {
	Revision int
	Found    *scan.Result             // charts, manifests and lists, and what hinders looking into them
	Tags     map[string]digest.Digest // of registry/: repository:tag, repository@digest
}

// needed gathers the container images that an image of the store will make a
// cluster pull. Those that its registry/ directory holds, as images made by
// sealos do, are read out of its layers; the others are pulled. The image
// itself stays as it is. What may hide images from the scan is fatal, as it is
// for a context, unless ignoreErrors says otherwise or the image has a registry/
// directory: its maker gathered its images then.
func (b *Builder) needed(ctx context.Context, name string, root v1.Descriptor, platforms []v1.Platform, ignoreErrors bool) (gathered, error) {
	var all gathered
	for _, p := range platforms {
		one, err := b.neededBy(ctx, name, root, p, ignoreErrors)
		if err != nil {
			return gathered{}, err
		}
		if all.images, err = b.merge(all.images, one.images); err != nil {
			return gathered{}, fmt.Errorf("images of %s for %s: %w", name, store.Platform(p), err)
		}
		all.unresolved = append(all.unresolved, one.unresolved...)
	}
	return all, nil
}

func (b *Builder) neededBy(ctx context.Context, name string, root v1.Descriptor, platform v1.Platform, ignoreErrors bool) (gathered, error) {
	dir, err := b.Store.TempDir("inside")
	if err != nil {
		return gathered{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in, err := b.inside(ctx, name, root, platform, dir)
	if err != nil {
		return gathered{}, err
	}
	if errs := in.Found.Errors; len(errs) > 0 && len(in.Tags) == 0 && !ignoreErrors {
		return gathered{}, &ScanError{Dir: name, Errors: errs}
	}
	for _, e := range in.Found.Errors {
		b.report().Note("ignored in " + name + ": " + e.Error())
	}
	pinned, rest, err := b.own(in)
	if err != nil {
		return gathered{}, err
	}
	got, err := b.gather(ctx, &buildContext{dir: dir}, rest, platform)
	if err != nil {
		return gathered{}, err
	}
	got.images = inherit(got.images, []base{{images: pinned}})
	return got, nil
}

// inside reads an image's layers, or takes what was found in them before.
func (b *Builder) inside(ctx context.Context, name string, root v1.Descriptor, platform v1.Platform, dir string) (inside, error) {
	image, err := b.ofPlatform(root, platform)
	if err != nil {
		return inside{}, err
	}
	cache := b.cacheFile("inside", image.Digest.String())
	if in, ok := b.insideBefore(cache); ok {
		return in, nil
	}
	config, err := b.config(image, platform)
	if err != nil {
		return inside{}, err
	}
	b.report().Phase("look into "+name, 0)
	tags, err := b.extract(ctx, image, dir)
	if err != nil {
		return inside{}, err
	}
	of := kubefile.Of(name, configOf(config))
	found, err := scan.Dir(ctx, dir, scan.Options{Kubefile: of})
	if err != nil {
		return inside{}, fmt.Errorf("look for images in %s: %w", name, err)
	}
	for i := range found.Images {
		found.Images[i].File = name + ":" + found.Images[i].File
		for j := range found.Images[i].Also {
			found.Images[i].Also[j].File = name + ":" + found.Images[i].Also[j].File
		}
	}
	in := inside{Revision: neededRevision, Found: &scan.Result{Images: found.Images, Archives: found.Archives, Errors: found.Errors}, Tags: tags}
	if len(found.Archives) == 0 { // archives are read out of the extracted files
		b.remember(cache, in)
	}
	return in, nil
}

// insideBefore reads what was remembered, if every image of it is still there.
func (b *Builder) insideBefore(cache string) (inside, bool) {
	var in inside
	raw, err := os.ReadFile(cache)
	if err != nil || json.Unmarshal(raw, &in) != nil || in.Revision != neededRevision || in.Found == nil {
		return inside{}, false
	}
	for _, d := range in.Tags {
		if _, err := b.Store.Walk(v1.Descriptor{Digest: d}); err != nil {
			return inside{}, false
		}
	}
	return in, true
}

// remember writes a file of the cache; a failure costs time only.
func (b *Builder) remember(file string, v any) {
	raw, err := json.Marshal(v)
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o755) != nil {
		return
	}
	_ = os.WriteFile(file+".new", raw, 0o644)
	_ = os.Rename(file+".new", file)
}

// own are the images that lie in the image's registry/, under the names that
// its charts, manifests and lists give them; rest is what is not there. An
// image of registry/ that nothing names is taken, too: something outside the
// image may ask for it.
func (b *Builder) own(in inside) (pinned []store.Pinned, rest *scan.Result, err error) {
	rest = &scan.Result{Archives: in.Found.Archives}
	used := map[string]bool{}
	pin := func(d digest.Digest, w pull.Wanted) error {
		p, err := b.pinStored(d, w)
		if err != nil {
			return fmt.Errorf("%s in registry/: %w", w.Ref, err)
		}
		pinned = append(pinned, p)
		return nil
	}
	for _, f := range in.Found.Images {
		key, ok := tagOf(f.Ref, in.Tags)
		if !ok {
			rest.Images = append(rest.Images, f)
			continue
		}
		used[key] = true
		w := pull.Wanted{Ref: f.Ref, Places: []store.Found{{Ref: f.Ref, File: f.File, Line: f.Line, Certainty: string(f.Certainty)}}}
		if err := pin(in.Tags[key], w); err != nil {
			return nil, nil, err
		}
	}
	for _, key := range sortedKeys(in.Tags) {
		if used[key] || strings.Contains(key, "@") {
			continue
		}
		named, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			b.report().Note(fmt.Sprintf("registry/ of the image holds %q, which is no image name: left out", key))
			continue
		}
		ref := named.String()
		if err := pin(in.Tags[key], pull.Wanted{Ref: ref, Places: []store.Found{{Ref: ref, File: "registry", Certainty: string(scan.Certain)}}}); err != nil {
			return nil, nil, err
		}
	}
	return pinned, rest, nil
}

// tagOf finds a reference in a registry directory whose repositories have no
// domain, or have one.
func tagOf(ref string, tags map[string]digest.Digest) (string, bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", false
	}
	suffix := ":latest"
	switch n := named.(type) {
	case reference.Digested:
		suffix = "@" + n.Digest().String()
	case reference.Tagged:
		suffix = ":" + n.Tag()
	}
	path := reference.Path(named)
	domain := reference.Domain(named)
	for _, repository := range []string{domain + "/" + path, strings.ReplaceAll(domain, ":", "_") + "/" + path, path, strings.TrimPrefix(path, "library/")} {
		if _, ok := tags[repository+suffix]; ok {
			return repository + suffix, true
		}
	}
	return "", false
}

func sortedKeys(m map[string]digest.Digest) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pinStored describes an image of the store that is known by its digest.
func (b *Builder) pinStored(d digest.Digest, w pull.Wanted) (store.Pinned, error) {
	raw, err := b.Store.ReadBlob(d, store.MaxManifest)
	if err != nil {
		return store.Pinned{}, err
	}
	return pull.Pin(b.Store, w, v1.Descriptor{MediaType: manifest.GuessMIMEType(raw), Digest: d, Size: int64(len(raw))})
}
