package disk

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Catalog reads the store's repositories: every manifest linked, what it reaches, and the tags. With it one store fills another.
// Damage that shows without hashing layers is an error: a manifest that is unreadable, or a blob that is missing.
func (s *Store) Catalog(ctx context.Context) (catalog.Catalog, error) {
	return s.catalog(ctx, catalog.NewWalker(s, nil), nil)
}

// catalog reads the repositories with w. What is damaged is an error, or told to damaged if that is not nil.
func (s *Store) catalog(ctx context.Context, w catalog.Walker, damaged func(digest.Digest)) (catalog.Catalog, error) {
	names, err := s.Repositories(ctx)
	if err != nil {
		return catalog.Catalog{}, err
	}
	var c catalog.Catalog
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return catalog.Catalog{}, fmt.Errorf("read store: %w", err)
		}
		b := catalog.NewBuilder(name)
		base := s.Path(LayoutRepositories + "/" + name + "/_manifests")
		revisions, err := readDirectory(filepath.Join(base, "revisions", "sha256"))
		if err != nil {
			return catalog.Catalog{}, err
		}
		for _, e := range revisions {
			d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			if (catalog.Blob{Digest: d}).Check() != nil || !LinkHolds(s.Path(RevisionLink(name, d)), d) {
				continue // deleted, or never finished
			}
			err := w.Add(b, d)
			if err != nil && damaged != nil {
				damaged(d)
				continue
			}
			if err != nil {
				return catalog.Catalog{}, fmt.Errorf("repository %s: %w", name, err)
			}
		}
		if err := s.readTags(b, filepath.Join(base, "tags")); err != nil && damaged == nil {
			return catalog.Catalog{}, fmt.Errorf("repository %s: %w", name, err)
		}
		c.Repositories = append(c.Repositories, b.Repo)
	}
	return c, nil
}

func (s *Store) readTags(b *catalog.Builder, dir string) error {
	tags, err := readDirectory(dir)
	if err != nil {
		return err
	}
	for _, e := range tags {
		data, err := os.ReadFile(filepath.Join(dir, e.Name(), "current", "link"))
		if err != nil || catalog.CheckTag(e.Name()) != nil {
			continue // deleted, or never finished
		}
		d := digest.Digest(data)
		if !b.Have[d] {
			return fmt.Errorf("tag %s names %q, which the repository does not have", e.Name(), data[:min(len(data), 80)])
		}
		b.Repo.Tags[e.Name()] = d
	}
	return nil
}

// Repositories returns the names of the store's repositories, sorted.
func (s *Store) Repositories(ctx context.Context) ([]string, error) {
	var names []string
	var walk func(name string) error
	walk = func(name string) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read store: %w", err)
		}
		entries, err := readDirectory(s.Path(LayoutRepositories + "/" + name))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			child := path.Join(name, e.Name())
			if e.Name() == "_manifests" && catalog.CheckRepository(name) == nil {
				names = append(names, name)
			}
			if strings.HasPrefix(e.Name(), "_") || len(child) > catalog.MaxNameLength {
				continue
			}
			if err := walk(child); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk("")
	slices.Sort(names)
	return names, err
}

// Linked tells which repositories link to a blob, as layer or as manifest.
func (s *Store) Linked(ctx context.Context) (map[digest.Digest][]string, error) {
	names, err := s.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	repos := map[digest.Digest][]string{}
	for _, name := range names {
		for _, kind := range []string{"_layers/sha256", "_manifests/revisions/sha256"} {
			entries, err := readDirectory(s.Path(LayoutRepositories + "/" + name + "/" + kind))
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
				repos[d] = append(repos[d], name)
			}
		}
	}
	return repos, nil
}
