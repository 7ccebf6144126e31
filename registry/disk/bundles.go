package disk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// A store remembers what each bundle has brought, so that a collection can tell what is of an old bundle from what somebody has
// pushed, which nobody might have elsewhere. What came before there were such records counts as pushed.

// bundleDirectory holds a record for each bundle, named by its digest.
const bundleDirectory = OwnDirectory + "/bundles" //docs:file masters /var/lib/registry/.sealbuild/: what each bundle has brought, and what is under way

// Bundle is what a bundle has brought.
type Bundle struct {
	Digest digest.Digest            `json:"bundle"`        // of its index
	For    map[string]digest.Digest `json:"for,omitempty"` // its cluster images, by repository
	Images map[string]Brought       `json:"images"`        // by repository
	// Order counts the records as they are made or come into use; InUse tells that the cluster has run with it.
	Order int  `json:"order"`
	InUse bool `json:"inUse,omitempty"`
}

// Brought is what a bundle has brought to one repository.
type Brought struct {
	Tags      map[string]digest.Digest `json:"tags,omitempty"`
	Manifests []digest.Digest          `json:"manifests,omitempty"` // sorted
}

// NewBundle describes a bundle by the digest of its index, the cluster images in it, and what it brings.
func NewBundle(d digest.Digest, clusterImages map[string]digest.Digest, c catalog.Catalog) Bundle {
	b := Bundle{Digest: d, For: clusterImages, Images: map[string]Brought{}}
	for _, r := range c.Repositories {
		brought := Brought{Tags: r.Tags}
		for _, m := range r.Manifests {
			brought.Manifests = append(brought.Manifests, m.Digest)
		}
		slices.Sort(brought.Manifests)
		b.Images[r.Name] = brought
	}
	return b
}

// BundleComes records what a bundle is about to bring, before it does. It says so once.
func (s *Store) BundleComes(b Bundle) error {
	return s.record(b, func(has, newest Bundle) Bundle {
		if has.Digest == "" {
			b.Order = newest.Order + 1
			return b
		}
		return has
	})
}

// BundleInUse records that the cluster runs with a bundle now.
func (s *Store) BundleInUse(b Bundle) error {
	return s.record(b, func(has, newest Bundle) Bundle {
		b.Order, b.InUse = has.Order, true
		if newest.Digest != b.Digest {
			b.Order = newest.Order + 1
		}
		return b
	})
}

// BundleLeft records that the cluster does not run with a bundle any more, and went back to what it had before.
func (s *Store) BundleLeft(b Bundle) error {
	return s.record(b, func(has, _ Bundle) Bundle {
		has.InUse = false
		return has
	})
}

// record replaces the record of a bundle by what change makes of it and of the newest record.
func (s *Store) record(b Bundle, change func(has, newest Bundle) Bundle) error {
	if !catalog.IsSHA256(b.Digest) {
		return fmt.Errorf("bundle %.100q: %w", b.Digest, catalog.ErrInvalid)
	}
	all, err := s.Bundles()
	if err != nil {
		return err
	}
	var has, newest Bundle
	for i, other := range all {
		if i == 0 {
			newest = other
		}
		if other.Digest == b.Digest {
			has = other
		}
	}
	now := change(has, newest)
	if now.Digest == "" || reflect.DeepEqual(now, has) {
		return nil
	}
	text, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("record bundle: %w", err)
	}
	if err := os.MkdirAll(s.Path(bundleDirectory), 0o755); err != nil {
		return fmt.Errorf("record bundle: %w", err)
	}
	if err := durable.Write(s.bundleFile(b.Digest), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("record bundle: %w", err)
	}
	return nil
}

func (s *Store) bundleFile(d digest.Digest) string {
	return s.Path(path.Join(bundleDirectory, d.Encoded()+".json"))
}

// Bundles are the records of the store, the newest first. One that cannot be read is an error: what it names is not known.
func (s *Store) Bundles() ([]Bundle, error) {
	entries, err := readDirectory(s.Path(bundleDirectory))
	if err != nil {
		return nil, fmt.Errorf("read the records of bundles: %w", err)
	}
	var all []Bundle
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue // of a writer that was killed
		}
		name := filepath.Join(s.Path(bundleDirectory), e.Name())
		text, err := os.ReadFile(name)
		var b Bundle
		if err == nil {
			err = json.Unmarshal(text, &b)
		}
		if err == nil && b.Digest.Encoded()+".json" != e.Name() {
			err = fmt.Errorf("it is of bundle %.100q", b.Digest)
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of a bundle %s: %w (a run of that bundle writes it anew once it is removed)", name, err)
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Bundle) int {
		return cmp.Or(cmp.Compare(b.Order, a.Order), strings.Compare(string(a.Digest), string(b.Digest)))
	})
	return all, nil
}

// older divides records, the newest first. Kept are, of each cluster image, the last so many that were in use, each as the newest
// bundle brought it, and the bundles that came for one since and are not in use yet. A bundle brings all that its images need,
// so another one with the same image is not needed for it.
func older(all []Bundle, last int) (kept, old []Bundle) {
	used := map[string]map[digest.Digest]bool{} // the images of each repository that were in use, so far
	for _, b := range all {
		images := b.For
		if len(images) == 0 {
			images = map[string]digest.Digest{"": b.Digest}
		}
		keep := false
		for name, d := range images {
			switch {
			case used[name][d]:
			case !b.InUse:
				keep = keep || len(used[name]) == 0
			case len(used[name]) < last:
				keep = true
				if used[name] == nil {
					used[name] = map[digest.Digest]bool{}
				}
				used[name][d] = true
			}
		}
		if keep {
			kept = append(kept, b)
		} else {
			old = append(old, b)
		}
	}
	return kept, old
}

// CollectOlder removes what only old bundles have brought: those before the last so many of each of their cluster images. What no
// bundle has brought stays, with everything that it names; so does what more names. It is otherwise as [Store.Collect].
func (s *Store) CollectOlder(ctx context.Context, last int, more catalog.Catalog, o CollectOptions) (Collected, []digest.Digest, error) {
	all, err := s.Bundles()
	if err != nil {
		return Collected{}, nil, err
	}
	kept, old := older(all, max(1, last))
	if len(old) == 0 {
		return Collected{}, nil, nil
	}
	keep, err := s.without(ctx, kept, old)
	if err != nil {
		return Collected{}, nil, fmt.Errorf("nothing was removed, since what is to be kept is not whole: %w; repair it with sync or verify first", err)
	}
	done, err := s.Collect(ctx, keep.Merge(more), o)
	var gone []digest.Digest
	for _, b := range old {
		gone = append(gone, b.Digest)
		if err == nil && !o.DryRun { // last: what is cut off before is done again
			err = os.Remove(s.bundleFile(b.Digest))
		}
	}
	return done, gone, err
}

// without is everything in the store but what old bundles alone have brought.
func (s *Store) without(ctx context.Context, kept, old []Bundle) (keep catalog.Catalog, err error) {
	w := catalog.NewWalker(s, func(catalog.Blob) {})
	there, err := s.catalog(ctx, w, nil)
	if err != nil {
		return catalog.Catalog{}, err
	}
	for _, r := range there.Repositories {
		stays, goes := linksOf(kept, r.Name), linksOf(old, r.Name)
		b := catalog.NewBuilder(r.Name)
		for _, m := range r.Manifests {
			if stays.manifests[m.Digest] || !goes.manifests[m.Digest] {
				if err := w.Add(b, m.Digest); err != nil {
					return catalog.Catalog{}, fmt.Errorf("repository %s: %w", r.Name, err)
				}
			}
		}
		for tag, d := range r.Tags {
			if stays.tags[tag][d] || !goes.tags[tag][d] {
				if err := w.Add(b, d); err != nil {
					return catalog.Catalog{}, fmt.Errorf("repository %s: %w", r.Name, err)
				}
				b.Repo.Tags[tag] = d
			}
		}
		if len(b.Repo.Manifests) > 0 {
			keep.Repositories = append(keep.Repositories, b.Repo)
		}
	}
	return keep, nil
}

// brought is what bundles have brought to one repository.
type brought struct {
	manifests map[digest.Digest]bool
	tags      map[string]map[digest.Digest]bool // what each tag was to name
}

func linksOf(bundles []Bundle, name string) brought {
	out := brought{map[digest.Digest]bool{}, map[string]map[digest.Digest]bool{}}
	for _, b := range bundles {
		r := b.Images[name]
		for _, d := range r.Manifests {
			out.manifests[d] = true
		}
		for tag, d := range r.Tags {
			if out.tags[tag] == nil {
				out.tags[tag] = map[digest.Digest]bool{}
			}
			out.tags[tag][d] = true
		}
	}
	return out
}
