package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Reach finds what refs name in the store, for [Store.Collect] to keep. A ref without a digest means what its tag names. Refs of
// which the manifest is not there are absent; layers that are not there are no concern. A manifest that is damaged is an error,
// since what it names is not known.
func (s *Store) Reach(ctx context.Context, refs []catalog.Ref) (c catalog.Catalog, absent []catalog.Ref, err error) {
	w := catalog.NewWalker(s, func(catalog.Blob) {})
	var there []catalog.Ref
	for _, ref := range refs {
		name, tag, err := catalog.RepositoryName(ref.Name)
		if err != nil {
			return catalog.Catalog{}, nil, err
		}
		if ref.Digest == "" {
			data, err := os.ReadFile(s.Path(TagLink(name, tag)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return catalog.Catalog{}, nil, fmt.Errorf("image %s: %w", ref.Name, err)
			}
			ref.Digest = digest.Digest(data)
		}
		if _, ok := s.Stat(ref.Digest); !ok {
			absent = append(absent, ref)
			continue
		}
		there = append(there, ref)
	}
	c, err = w.Build(ctx, there)
	return c, absent, err
}
