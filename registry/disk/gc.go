package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// ErrBusy is wrapped when a session fills the store that is to be collected.
var ErrBusy = errors.New("another session works on this registry")

// CollectOptions say how a collection is done.
type CollectOptions struct {
	// Grace is how long manifests stay after their tags are gone, and then layers after the manifests: a client that has begun to
	// pull can end. What is being sent when its time is over is sent to its end.
	Grace  time.Duration
	DryRun bool // only count
}

// Collected is what a collection removed. Bytes are those of the blobs.
type Collected struct {
	Repositories, Tags, Manifests, Layers, Blobs int // Layers are links of repositories; a blob may have had many
	Bytes                                        int64
}

// Collect removes what keep does not name: tags, then manifests, then layers, then the blobs. It writes nothing, so a full disk
// does not matter, and it may be stopped anywhere and run again.
//
// The store may be served meanwhile. Sessions that fill it wait for the end. If a session is under way already, the error is
// ErrBusy.
func (s *Store) Collect(ctx context.Context, keep catalog.Catalog, o CollectOptions) (Collected, error) {
	c := collector{store: s, dry: o.DryRun, repos: map[string]*catalog.Links{}, blobs: map[digest.Digest]bool{}}
	for _, r := range keep.Repositories {
		p := r.Links()
		c.repos[r.Name] = p
		for d := range p.Layers {
			c.blobs[d] = true
		}
		for d := range p.Manifests {
			c.blobs[d] = true
		}
	}
	lock, err := s.Lock(ctx, true)
	if errors.Is(err, fs.ErrNotExist) {
		return Collected{}, nil
	}
	if err != nil {
		return Collected{}, fmt.Errorf("collect %s: %w", s.root, err)
	}
	defer lock.Close()
	if err := c.run(ctx, o.Grace); err != nil {
		return c.done, fmt.Errorf("collect %s: %w", s.root, err)
	}
	return c.done, nil
}

type collector struct {
	store *Store
	dry   bool
	repos map[string]*catalog.Links
	blobs map[digest.Digest]bool
	done  Collected
}

func (c *collector) run(ctx context.Context, grace time.Duration) error {
	names, err := c.store.Repositories(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		remove func(ctx context.Context, name string) error
		count  *int
	}{{c.tags, &c.done.Tags}, {c.manifests, &c.done.Manifests}, {c.layers, &c.done.Layers}} {
		for _, name := range names {
			if err := step.remove(ctx, name); err != nil {
				return err
			}
		}
		wait := grace
		if step.count == &c.done.Layers {
			wait = 0 // a client that read a link has opened the blob by now
		}
		if err := c.settle(ctx, *step.count, wait); err != nil {
			return err
		}
	}
	return c.sweep(ctx)
}

// settle makes what was removed durable, since a power cut must not bring back a link to what is gone, and gives clients time to
// end.
func (c *collector) settle(ctx context.Context, removed int, grace time.Duration) error {
	if c.dry || removed == 0 {
		return nil
	}
	if err := c.store.Sync(); err != nil {
		return err
	}
	return wait.For(ctx, grace)
}

// tags removes the tags of a repository that are not kept, or that name something else, and what kept ones named before.
func (c *collector) tags(ctx context.Context, name string) error {
	keep := c.repos[name]
	dir := c.store.Path(LayoutRepositories + "/" + name + "/_manifests/tags")
	err := c.each(ctx, dir, &c.done.Tags, func(tag string) bool {
		if keep == nil {
			return false
		}
		d, ok := keep.Tags[tag]
		return ok && LinkHolds(c.store.Path(TagLink(name, tag)), d)
	})
	if err != nil || keep == nil {
		return err
	}
	for tag, d := range keep.Tags {
		history := filepath.Join(dir, tag, "index", "sha256")
		if err := c.each(ctx, history, new(int), func(hex string) bool { return hex == d.Encoded() }); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) manifests(ctx context.Context, name string) error {
	keep := c.repos[name]
	dir := c.store.Path(LayoutRepositories + "/" + name + "/_manifests/revisions/sha256")
	return c.each(ctx, dir, &c.done.Manifests, func(hex string) bool {
		return keep != nil && keep.Manifests[digest.NewDigestFromEncoded(digest.SHA256, hex)]
	})
}

// layers removes the layers of a repository, and the repository when it is not kept.
func (c *collector) layers(ctx context.Context, name string) error {
	keep := c.repos[name]
	base := c.store.Path(LayoutRepositories + "/" + name)
	err := c.each(ctx, filepath.Join(base, "_layers", "sha256"), &c.done.Layers, func(hex string) bool {
		return keep != nil && keep.Layers[digest.NewDigestFromEncoded(digest.SHA256, hex)]
	})
	if err != nil || keep != nil {
		return err
	}
	c.done.Repositories++
	if c.dry {
		return nil
	}
	for _, own := range []string{"_manifests", "_layers", "_uploads"} {
		if err := os.RemoveAll(filepath.Join(base, own)); err != nil {
			return fmt.Errorf("remove repository %s: %w", name, err)
		}
	}
	for root := c.store.Path(LayoutRepositories); base != root; base = filepath.Dir(base) {
		if os.Remove(base) != nil {
			break // others lie in it
		}
	}
	return nil
}

// each removes the entries of a directory that are not kept, and counts them.
func (c *collector) each(ctx context.Context, dir string, count *int, keep func(name string) bool) error {
	entries, err := readDirectory(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if keep(e.Name()) {
			continue
		}
		*count++
		if c.dry {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove link: %w", err)
		}
	}
	return nil
}

// sweep removes blobs, and what interrupted sessions left of others.
func (c *collector) sweep(ctx context.Context) error {
	blobs, err := c.store.Blobs(ctx)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.blobs[b.Digest] {
			continue
		}
		c.done.Blobs++
		c.done.Bytes += b.Size
		if c.dry {
			continue
		}
		if err := os.RemoveAll(filepath.Dir(c.store.Path(BlobData(b.Digest)))); err != nil {
			return fmt.Errorf("remove blob: %w", err)
		}
	}
	partials, err := readDirectory(c.store.Path(PartialDirectory))
	if err != nil || c.dry {
		return err
	}
	if err := c.store.sweepAside(); err != nil {
		return err
	}
	for _, e := range partials {
		if !c.blobs[digest.NewDigestFromEncoded(digest.SHA256, e.Name())] {
			if err := os.Remove(filepath.Join(c.store.Path(PartialDirectory), e.Name())); err != nil {
				return fmt.Errorf("remove partial blob: %w", err)
			}
		}
	}
	c.store.SweepSessions()
	os.Remove(c.store.Path(PartialDirectory)) // if they are empty
	os.Remove(c.store.Path(OwnDirectory))
	return nil
}
