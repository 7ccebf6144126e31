package pull

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/containers/image/v5/signature"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// gatherer is one call of Gather.
type gatherer struct {
	store   *store.Store
	options Options
	queue   *queue
	remotes *remotes
	policy  *signature.Policy // nil accepts everything
	known   map[string]bool   // references that some stored image needs

	mu       sync.Mutex
	blobs    map[string]*blob                // by digest
	configs  map[digest.Digest]chan struct{} // taken by who downloads it to find out a platform
	result   Result
	failures []Failure
	told     []string // what is taken as it was before
}

func newGatherer(st *store.Store, o Options) (*gatherer, error) {
	g := &gatherer{store: st, options: o, queue: newQueue(), known: map[string]bool{}}
	g.blobs, g.configs = map[string]*blob{}, map[digest.Digest]chan struct{}{}
	g.remotes = newRemotes(o.System, o.Jobs, o.Idle)
	var err error
	if g.policy, err = readPolicy(o.System); err != nil {
		return nil, err
	}
	records, err := st.List()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		for _, p := range r.Images {
			g.known[p.Ref] = true
		}
	}
	return g, nil
}

// image is a reference whose manifest is known and whose blobs are under way.
type image struct {
	wanted    Wanted
	remote    remote
	root      v1.Descriptor
	platforms []string          // taken of an index
	plain     []v1.Descriptor   // images of an index that does not name their platforms itself
	manifests map[string][]byte // to be stored when every blob is there, by digest
	order     []string          // of manifests: children first
	before    bool              // its registry was not reached
	unchecked []v1.Platform     // for which it must be, as its config will tell
	pending   int
	err       error
}

// blob is one download and the images that wait for it.
type blob struct {
	desc    v1.Descriptor
	urls    []string // where its images say that it lies, too
	waiting []*image
	tried   int  // how many of waiting have lent their remote
	done    bool // successfully
}

// look describes an image, or records why it cannot be had.
func (g *gatherer) look(ctx context.Context, w Wanted) (*image, []v1.Descriptor, bool) {
	img, leaves, err := g.describe(ctx, w)
	if err != nil {
		absent := w.Suspected && passable(err)
		if absent && !unreachable(err) && !errors.As(err, new(asItWas)) {
			g.remember(w.Ref, meaning{Unknown: NotFound(err), Absent: err.Error()})
		}
		g.fail(ctx, w, err, absent || w.Suspected && g.options.Lenient)
	}
	return img, leaves, err == nil
}

// resolve finds out what a reference needs and queues what the store lacks.
func (g *gatherer) resolve(ctx context.Context, w Wanted) {
	img, leaves, ok := g.look(ctx, w)
	if !ok {
		return
	}
	g.mu.Lock()
	img.pending = 1 // this function itself
	for _, leaf := range leaves {
		g.want(img, leaf)
	}
	g.mu.Unlock()
	g.arrived(ctx, img, nil)
}

// want makes img wait for a blob, starting its download when it is the first. g.mu is held.
func (g *gatherer) want(img *image, d v1.Descriptor) {
	key := string(d.Digest)
	b, ok := g.blobs[key]
	if !ok {
		if _, stored := g.store.Has(d.Digest); stored {
			return
		}
		b = &blob{desc: d}
		g.blobs[key] = b
		g.options.Progress.Expect(d.Size)
		g.queue.add(d.Size, func(ctx context.Context) { g.download(ctx, b) })
	}
	if b.done {
		return
	}
	b.urls = addURLs(b.urls, d.URLs)
	b.waiting = append(b.waiting, img)
	img.pending++
}

// download fetches a blob from where the first image that wants it is had. When that fails for good, the next image's place has its
// turn: another registry or repository may hold the same blob.
func (g *gatherer) download(ctx context.Context, b *blob) {
	var failed *BlobError
	for {
		g.mu.Lock()
		if b.tried == len(b.waiting) && len(b.urls) > 0 && ctx.Err() == nil {
			urls := b.urls
			b.urls = nil
			g.mu.Unlock()
			wrong := g.elsewhere(ctx, b.desc, urls)
			if wrong == nil {
				g.came(ctx, b)
				return
			}
			failed.URLs = wrong
			continue
		}
		if b.tried == len(b.waiting) {
			waiting := b.waiting
			delete(g.blobs, string(b.desc.Digest)) // an image that comes later may try its own place
			g.mu.Unlock()
			for _, img := range waiting {
				g.arrived(ctx, img, failed)
			}
			return
		}
		from := b.waiting[b.tried].remote
		b.tried++
		g.mu.Unlock()

		err := g.fetch(ctx, from, b.desc)
		if err == nil {
			g.came(ctx, b)
			return
		}
		failed = &BlobError{Digest: b.desc.Digest, MediaType: b.desc.MediaType, Err: err}
		if ctx.Err() != nil {
			return
		}
	}
}

// came tells all who wait for a blob that it is there.
func (g *gatherer) came(ctx context.Context, b *blob) {
	g.mu.Lock()
	b.done = true
	waiting := b.waiting
	g.result.Blobs++
	g.mu.Unlock()
	for _, img := range waiting {
		g.arrived(ctx, img, nil)
	}
}

// arrived counts down what an image waits for and completes it with the last.
func (g *gatherer) arrived(ctx context.Context, img *image, err error) {
	g.mu.Lock()
	img.pending--
	if img.err == nil {
		img.err = err
	}
	last := img.pending == 0
	g.mu.Unlock()
	if !last {
		return
	}
	if img.err != nil {
		g.fail(ctx, img.wanted, img.err, img.wanted.Suspected && g.options.Lenient)
		return
	}
	pinned, err := g.complete(img)
	if err != nil {
		g.fail(ctx, img.wanted, err, img.wanted.Suspected && passable(err))
		return
	}
	if !img.before {
		g.remember(img.wanted.Ref, meaning{Digest: img.root.Digest})
	}
	g.mu.Lock()
	g.result.Images = append(g.result.Images, pinned)
	g.mu.Unlock()
}

// complete stores an image's manifests, children first, now that every blob they name is there.
func (g *gatherer) complete(img *image) (store.Pinned, error) {
	for _, d := range slices.Concat(img.beside(), img.order) {
		if _, err := g.store.PutBytes(img.manifests[d]); err != nil {
			return store.Pinned{}, err
		}
	}
	root := img.root
	if img.plain != nil {
		var err error
		if root, err = store.Plain(g.store, img.plain); err != nil {
			return store.Pinned{}, err
		}
	}
	p, err := store.Pin(g.store, img.wanted.found(), root, img.platforms...)
	if len(img.wanted.Places) > 1 {
		p.Also = img.wanted.Places[1:]
	}
	if err == nil && img.unchecked != nil && !img.wanted.Files && len(p.Platforms) > 0 {
		err = isFor(*store.PlatformOf(p.Platforms[0]), img.unchecked)
	}
	return p, err
}

// beside are the manifests that were only read to find the wanted ones: they tell the same the next time.
func (img *image) beside() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(img.manifests)), func(d string) bool { return slices.Contains(img.order, d) })
}

// fail records a failure, as an error or as something merely absent.
func (g *gatherer) fail(ctx context.Context, w Wanted, err error, absent bool) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return
	}
	f := Failure{Ref: w.Ref, Places: w.Places, Err: err, Suspected: w.Suspected && !absent}
	g.mu.Lock()
	defer g.mu.Unlock()
	if absent {
		g.result.Absent = append(g.result.Absent, f)
		return
	}
	g.failures = append(g.failures, f)
}
