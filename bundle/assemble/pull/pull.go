// Package pull gathers container images into the local store.
//
// It promises that one failing reference stops no other: everything that can be had is fetched, and then every failure is reported
// together with the places its reference came from. What was fetched stays in the store, so a second run asks each registry once
// for the digest of each tag, nothing for digests, and downloads no blob. A blob is downloaded once, however many images share it,
// and hashed once, while it arrives. A transfer that is cut or stalls goes on where it stopped, also in the next run.
//
// Registries are reached as podman and docker reach them: mirrors, insecure and blocked ones of registries.conf, credentials of
// auth.json and docker login, certificates of certs.d, the signature policy of the machine. One that limits how often it is asked
// is left alone for as long as it wants, while others are pulled from.
package pull

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/containers/image/v5/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Wanted is a reference to gather.
type Wanted struct {
	Ref    string        // a full docker reference
	Places []store.Found // where it was found
	// Suspected marks a reference that may be no image at all: one that does not exist is reported, not an error.
	Suspected bool
	Platforms []v1.Platform // of an index, which to take; none means those of the Options
	Own       bool          // only we read its index: no host asks for it by a digest
	Files     bool          // only files are copied from it: without an index it may be for any platform
}

// found is the first place that names it.
func (w Wanted) found() store.Found {
	if len(w.Places) == 0 {
		return store.Found{Ref: w.Ref}
	}
	f := w.Places[0]
	f.Ref = w.Ref
	return f
}

// Options says how to gather.
type Options struct {
	Platforms []v1.Platform // of an index, which to take, where a Wanted does not say; at least one
	Jobs      int           // downloads at a time; 0 is DefaultJobs
	System    *types.SystemContext
	Attempts  int           // tries per request; 0 is 4
	Idle      time.Duration // a transfer without a byte for so long is broken; 0 is one minute
	Backoff   time.Duration // before the second try, doubled after each; 0 is one second
	Progress  Progress      // nil for none
	Offline   bool          // a tag whose registry cannot be reached means what it meant when it was
	Lenient   bool          // suspected references that fail, however they do, are absent
}

// DefaultJobs is how many downloads run at a time.
const DefaultJobs = 8

// Progress is told how far gathering is. Its methods are called by several goroutines.
type Progress interface {
	Expect(bytes int64)  // more bytes are to be downloaded
	Advance(bytes int64) // so many came; negative when a broken transfer starts over
	Note(text string)    // what is tried again, and why
}

// Result is what was gathered.
type Result struct {
	Images []store.Pinned // sorted by reference
	Absent []Failure      // suspected references that could not be had
	Blobs  int            // downloaded now
}

func (o Options) withDefaults() Options {
	o.Jobs = cmp.Or(o.Jobs, DefaultJobs)
	o.Attempts = cmp.Or(o.Attempts, 4)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Backoff = cmp.Or(o.Backoff, time.Second)
	if o.System == nil {
		o.System = &types.SystemContext{}
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	return o
}

// Gather fetches every wanted image into st. When certain references fail the error is an *Error and the result holds the others.
func Gather(ctx context.Context, st *store.Store, wanted []Wanted, o Options) (Result, error) {
	g, err := newGatherer(st, o.withDefaults())
	if err != nil {
		return Result{}, err
	}
	defer g.remotes.close()
	if err := g.each(ctx, wanted, g.resolve); err != nil {
		return Result{}, err
	}
	r := g.result
	slices.SortFunc(r.Images, func(a, b store.Pinned) int { return cmp.Compare(a.Ref, b.Ref) })
	if len(g.failures) > 0 {
		return r, &Error{Failures: g.failures, Fetched: len(r.Images), Kept: st.Keeps()}
	}
	return r, nil
}

// Measured is what registries say of images, without their layers.
type Measured struct {
	Sizes  map[string]int64 // bytes to download, by reference: manifests, configs and layers of the wanted platforms
	Total  int64            // bytes of all together: what several images share counts once
	Absent []Failure        // suspected references that could not be had, sorted by reference
	Failed []Failure        // those that would fail a Gather, sorted by reference
}

// Measure asks how large every wanted image is. st gets the manifests and configs that are read; what it has already counts, too.
func Measure(ctx context.Context, st *store.Store, wanted []Wanted, o Options) (Measured, error) {
	g, err := newGatherer(st, o.withDefaults())
	if err != nil {
		return Measured{}, err
	}
	defer g.remotes.close()
	m := Measured{Sizes: map[string]int64{}}
	counted := map[string]bool{}
	err = g.each(ctx, wanted, func(ctx context.Context, w Wanted) {
		img, leaves, ok := g.look(ctx, w)
		if !ok {
			return
		}
		sizes := map[string]int64{}
		for _, leaf := range leaves {
			sizes[string(leaf.Digest)] = leaf.Size
		}
		for d, raw := range img.manifests {
			sizes[d] = int64(len(raw))
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for d, size := range sizes {
			m.Sizes[w.Ref] += size
			if !counted[d] {
				m.Total += size
			}
			counted[d] = true
		}
	})
	m.Absent, m.Failed = g.result.Absent, g.failures
	return m, err
}

// each does something for every wanted image, with as many at a time as there may be transfers.
func (g *gatherer) each(ctx context.Context, wanted []Wanted, do func(context.Context, Wanted)) error {
	for _, w := range wanted {
		g.queue.add(firstOfAll, func(ctx context.Context) { do(ctx, w) })
	}
	g.queue.run(ctx, g.options.Jobs)
	g.tellAll()
	byRef := func(a, b Failure) int { return cmp.Compare(a.Ref, b.Ref) }
	slices.SortFunc(g.result.Absent, byRef)
	slices.SortFunc(g.failures, byRef)
	return ctx.Err()
}

type silent struct{}

func (silent) Expect(int64)  {}
func (silent) Advance(int64) {}
func (silent) Note(string)   {}
