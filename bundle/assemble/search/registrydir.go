package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// RegistryTree is where images made by sealos keep the container images.
const RegistryTree = "registry/docker/registry/v2/"

// RegistryDir puts the blobs of a directory's registry/ into the store, and returns its images, by repository:tag and
// repository@digest.
func RegistryDir(ctx context.Context, st *store.Store, dir string) (map[string]digest.Digest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	x := newExtraction(ctx, st, nil)
	err = fs.WalkDir(root.FS(), path.Clean(RegistryTree), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		if err := x.registry(strings.TrimPrefix(name, RegistryTree), info.Size(), f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	return x.tags(), err
}

// link is a file of registry/ that names a manifest: its key is repository:tag or repository@digest.
type link struct {
	key    string
	digest digest.Digest
}

// tags are what the links name, by their keys.
func (x *extraction) tags() map[string]digest.Digest {
	all := map[string]digest.Digest{}
	for _, l := range x.links {
		all[l.key] = l.digest
	}
	return all
}

// registry takes a file of a registry's directory: a blob, or what names a manifest.
func (x *extraction) registry(name string, size int64, r io.Reader) error {
	parts := strings.Split(name, "/")
	n := len(parts)
	switch {
	case n == 5 && parts[0] == "blobs" && parts[4] == "data":
		return x.store.Put(x.ctx, digest.NewDigestFromEncoded(digest.Algorithm(parts[1]), parts[3]), size, r)
	case n >= 7 && parts[0] == "repositories" && parts[n-1] == "link" && parts[n-2] == "current" && parts[n-4] == "tags" && parts[n-5] == "_manifests":
		return x.link(name, strings.Join(parts[1:n-5], "/")+":"+parts[n-3], r)
	case n >= 7 && parts[0] == "repositories" && parts[n-1] == "link" && parts[n-4] == "revisions" && parts[n-5] == "_manifests":
		return x.link(name, strings.Join(parts[1:n-5], "/")+"@"+parts[n-3]+":"+parts[n-2], r)
	}
	return nil
}

func (x *extraction) link(name, key string, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, 200))
	if err != nil {
		return err
	}
	d := digest.Digest(strings.TrimSpace(string(text)))
	if err := d.Validate(); err != nil {
		return fmt.Errorf("names %q: %w", text, err)
	}
	x.links[RegistryTree+name] = link{key, d}
	return nil
}

// Own returns the images that lie in the image's registry/, under the names that its charts, manifests and lists give them, and as
// rest what does not lie there. An image of registry/ that nothing names is taken, too: something outside the image may ask for it.
func Own(tell report.Reporter, st *store.Store, found *scan.Result, tags map[string]digest.Digest) (pinned []store.Pinned, rest *scan.Result, err error) {
	rest = &scan.Result{Archives: found.Archives}
	used := map[string]bool{}
	pin := func(d digest.Digest, w store.Found, also ...scan.Place) error {
		p, err := pinStored(st, d, w)
		if err != nil {
			return fmt.Errorf("%s in registry/: %w", w.Ref, err)
		}
		for _, place := range also {
			p.Also = append(p.Also, store.Found{Ref: w.Ref, File: place.File, Line: place.Line, Certainty: w.Certainty})
		}
		pinned = append(pinned, p)
		return nil
	}
	for _, f := range found.Images {
		key, ok := tagOf(f.Ref, tags)
		if !ok {
			rest.Images = append(rest.Images, f)
			continue
		}
		used[key] = true
		w := store.Found{Ref: f.Ref, File: f.File, Line: f.Line, Certainty: string(f.Certainty)}
		if err := pin(tags[key], w, f.Also...); err != nil {
			return nil, nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if used[key] || strings.Contains(key, "@") {
			continue
		}
		named, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			tell.Note(fmt.Sprintf("registry/ of the image holds %q, which is no image name: left out", key))
			continue
		}
		ref := named.String()
		if err := pin(tags[key], store.Found{Ref: ref, File: "registry", Certainty: string(scan.Certain)}); err != nil {
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
func pinStored(st *store.Store, d digest.Digest, w store.Found) (store.Pinned, error) {
	raw, err := st.ReadBlob(d, ocigraph.MaxManifest)
	if err != nil {
		return store.Pinned{}, err
	}
	root := v1.Descriptor{MediaType: manifest.GuessMIMEType(raw), Digest: d, Size: int64(len(raw))}
	if !strings.Contains(w.Ref, "@") {
		if root, err = store.Named(st, root); err != nil {
			return store.Pinned{}, err
		}
	}
	return store.Pin(st, w, root)
}
