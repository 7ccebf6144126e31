package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// contextImages takes the images of a registry/ in the context, as sealos makes it, for every platform whose Kubefile copies it:
// they are in no layer (see registryEdits). What is left of the looks is to be gathered from elsewhere.
func (b *Builder) contextImages(ctx context.Context, parts []building, looks []look) ([]claim, []look, error) {
	var tags map[string]digest.Digest
	var claims []claim
	rest := slices.Clone(looks)
	for i, part := range parts {
		if !part.src.copiesRegistry() {
			continue
		}
		if tags == nil {
			b.report().Phase("take the images of registry/", 0)
			var err error
			if tags, err = readRegistry(ctx, b.Store, part.src.dir); err != nil {
				return nil, nil, fmt.Errorf("take the images of registry/ in %s: %w", part.src.dir, err)
			}
		}
		pinned, left, err := b.own(inside{Found: looks[i].found, Tags: tags})
		if err != nil {
			return nil, nil, err
		}
		rest[i].found = left
		for _, p := range pinned {
			claims = append(claims, claim{Pinned: p, of: []string{store.Platform(part.platform)}})
		}
	}
	return claims, rest, nil
}

// copiesRegistry tells whether the context has a registry's files below registry/, and the Kubefile copies them.
func (c *buildContext) copiesRegistry() bool {
	if fi, err := os.Stat(filepath.Join(c.dir, filepath.FromSlash(registryTree))); err != nil || !fi.IsDir() {
		return false
	}
	for _, stage := range c.file.Final() {
		for _, copied := range stage.Copies {
			if slices.ContainsFunc(copied.Sources, func(s string) bool {
				s = strings.TrimPrefix(path.Clean("/"+s), "/")
				whole, err := path.Match(s, "registry")
				return s == "" || err == nil && whole || strings.HasPrefix(s, "registry/")
			}) {
				return true
			}
		}
	}
	return false
}

// readRegistry puts the blobs of a directory's registry/ into the store, and returns its images, by repository:tag and
// repository@digest.
func readRegistry(ctx context.Context, st *store.Store, dir string) (map[string]digest.Digest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	x := &extraction{store: st, ctx: ctx, tags: map[string]digest.Digest{}}
	err = fs.WalkDir(root.FS(), path.Clean(registryTree), func(name string, d fs.DirEntry, err error) error {
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
		if err := x.registry(strings.TrimPrefix(name, registryTree), info.Size(), f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	return x.tags, err
}
