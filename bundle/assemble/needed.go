package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
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
	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/kubefile"
)

// neededRevision is raised when the same layers give another answer.
const neededRevision = 4

// inside is what the layers of an image hold that makes a cluster pull images.
type inside struct {
	Revision int
	Found    *scan.Result             // charts, manifests and lists
	Tags     map[string]digest.Digest // of registry/: repository:tag, repository@digest
}

// searched is an image of the store, of one platform, that is to be searched.
type searched struct {
	name     string
	image    v1.Descriptor
	platform v1.Platform
	from     int    // the first layer that counts
	ignore   []byte // .sealignore, where the image has none of its own
	preview  *look  // what was found in the context, and need not be found again
}

// ofEach is an image that is to be searched for every platform.
func (b *Builder) ofEach(name string, root v1.Descriptor, platforms []v1.Platform) ([]searched, error) {
	var all []searched
	for _, p := range platforms {
		image, err := b.ofPlatform(root, p)
		if err != nil {
			return nil, err
		}
		all = append(all, searched{name: name, image: image, platform: p})
	}
	return all, nil
}

// needed gathers the container images that images of the store will make a cluster pull, each for its platform. Those that a
// registry/ directory holds, as in images made by sealos, are read out of the layers; the others are pulled. The images themselves
// stay as they are.
//
// What may hide images is an error, as in a context, unless the image brings a registry/: then its maker has gathered what it
// needs, it is taken as it is, and what is wrong with its files is told.
func (b *Builder) needed(ctx context.Context, images []searched, ignoreErrors bool) (gathered, error) {
	var looks []look
	var own []claim
	var fatal, told []*scan.Result
	for _, s := range images {
		dir, err := b.Store.TempDir("inside")
		if err != nil {
			return gathered{}, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		in, err := b.inside(ctx, s, dir)
		if err != nil {
			return gathered{}, err
		}
		in.Found = beyond(in.Found, s.preview)
		wrong := &scan.Result{Errors: in.Found.Errors}
		if len(in.Tags) > 0 {
			told = append(told, wrong)
		} else {
			fatal = append(fatal, wrong)
		}
		pinned, rest, err := b.own(in)
		if err != nil {
			return gathered{}, err
		}
		looks = append(looks, look{dir: dir, found: rest, platform: s.platform})
		for _, p := range pinned {
			own = append(own, claim{Pinned: p, of: []string{store.Platform(s.platform)}, level: 1})
		}
	}
	name := images[0].name
	for _, e := range scan.Union(told...).Errors {
		b.report().Note("ignored in " + name + ", which brings a registry/: " + e.Error())
	}
	if err := b.scanned(name, scan.Union(fatal...).Errors, ignoreErrors); err != nil {
		return gathered{}, err
	}
	g, err := b.gather(ctx, looks)
	g.claims = append(g.claims, own...)
	return g, err
}

// inside reads an image's layers, or takes what was found in them before.
func (b *Builder) inside(ctx context.Context, s searched, dir string) (inside, error) {
	key := fmt.Sprint(s.image.Digest, s.from, s.preview != nil, digest.FromBytes(s.ignore))
	cache := b.cacheFile("inside", key)
	in, ok := b.insideBefore(cache)
	if !ok {
		var err error
		if in, err = b.lookInside(ctx, s, dir); err != nil {
			return inside{}, err
		}
		if len(in.Found.Archives) == 0 { // archives are read out of the extracted files
			b.remember(cache, in)
		}
	}
	for i := range in.Found.Images {
		in.Found.Images[i].File = s.name + ":" + in.Found.Images[i].File
		for j := range in.Found.Images[i].Also {
			in.Found.Images[i].Also[j].File = s.name + ":" + in.Found.Images[i].Also[j].File
		}
	}
	return in, nil
}

// beyond is what was found in an image and not in its context. Archives stay: one in the same place may be another.
func beyond(found *scan.Result, preview *look) *scan.Result {
	if preview == nil {
		return found
	}
	shown := preview.found
	rest := *found
	rest.Images = slices.DeleteFunc(slices.Clone(found.Images), func(f scan.Found) bool {
		return slices.ContainsFunc(shown.Images, func(s scan.Found) bool {
			return s.Ref == f.Ref && (s.Certainty == scan.Certain || f.Certainty == scan.Suspected)
		})
	})
	rest.Errors = slices.DeleteFunc(slices.Clone(found.Errors), func(e scan.Error) bool {
		return slices.ContainsFunc(shown.Errors, func(s scan.Error) bool {
			return s.Message == e.Message && (e.Line == 0 || s.Line == e.Line && path.Base(s.File) == path.Base(e.File))
		})
	})
	return &rest
}

func (b *Builder) lookInside(ctx context.Context, s searched, dir string) (inside, error) {
	config, err := b.config(s.image, s.platform)
	if err != nil {
		return inside{}, err
	}
	b.report().Phase("look into "+s.name, 0)
	tags, err := b.extract(ctx, s.image, s.from, dir)
	if err != nil {
		return inside{}, err
	}
	if ignore := filepath.Join(dir, scan.IgnoreFile); s.ignore != nil {
		if _, err := os.Lstat(ignore); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(ignore, s.ignore, 0o644); err != nil {
				return inside{}, err
			}
		}
	}
	look := scan.Dir
	if s.preview != nil && s.from == 0 { // all of it is of this build
		look = scan.Image
	}
	found, err := look(ctx, dir, kubefile.Of(s.name, configOf(config)))
	if err != nil {
		return inside{}, fmt.Errorf("look for images in %s: %w", s.name, err)
	}
	found.Warnings = nil // about the work of others, or told of the context
	return inside{Revision: neededRevision, Found: found, Tags: tags}, nil
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
	_ = durable.WriteCache(file, raw, 0o644)
}

// own returns the images that lie in the image's registry/, under the names that its charts, manifests and lists give them, and as
// rest what does not lie there. An image of registry/ that nothing names is taken, too: something outside the image may ask for it.
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
	for _, key := range slices.Sorted(maps.Keys(in.Tags)) {
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

// tagOf finds a reference in a registry directory whose repositories have no domain, or have one.
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

// pinStored describes an image of the store that is known by its digest.
func (b *Builder) pinStored(d digest.Digest, w pull.Wanted) (store.Pinned, error) {
	raw, err := b.Store.ReadBlob(d, ocigraph.MaxManifest)
	if err != nil {
		return store.Pinned{}, err
	}
	return pull.Pin(b.Store, w, v1.Descriptor{MediaType: manifest.GuessMIMEType(raw), Digest: d, Size: int64(len(raw))})
}

// hidden searches the built images, since those are what the site gets, and gathers what they need beyond what the contexts have
// shown: charts, manifests and lists that a RUN has made, that came from another stage or image, or that lie somewhere else in
// the context than in the image. Layers of the base were searched with it.
func (b *Builder) hidden(ctx context.Context, r BuildRequest, parts []building, looks []look) (gathered, error) {
	ignore, err := os.ReadFile(filepath.Join(r.Context, scan.IgnoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gathered{}, fmt.Errorf("look for images in %s: %w", r.Context, err)
	}
	var images []searched
	for i, part := range parts {
		below, err := b.layersBelow(part, part.src.file.Final()[0].Base)
		if err != nil {
			return gathered{}, err
		}
		images = append(images, searched{name: r.Name, image: part.built, platform: part.platform, from: below, ignore: ignore, preview: &looks[i]})
	}
	return b.needed(ctx, images, r.IgnoreScanErrors)
}

// layersBelow is how many layers of the built image are those of its base.
func (b *Builder) layersBelow(part building, name string) (int, error) {
	for _, base := range part.preload {
		if base.name != name {
			continue
		}
		was, err := b.layers(base.root, base.platform)
		if err != nil {
			return 0, fmt.Errorf("base image %s: %w", name, err)
		}
		is, err := b.layers(part.built, part.platform)
		if err != nil {
			return 0, err
		}
		if is < was { // not one upon the other: all of it counts
			return 0, nil
		}
		return was, nil
	}
	return 0, nil
}

func (b *Builder) layers(d v1.Descriptor, platform v1.Platform) (int, error) {
	one, err := b.ofPlatform(d, platform)
	if err != nil {
		return 0, err
	}
	m, err := ocigraph.Read(b.Store, one.Digest)
	return len(m.Layers), err
}
