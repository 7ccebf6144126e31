package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/containers/image/v5/manifest"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// each asks one location after the other until one answers.
func (r remote) each(ctx context.Context, ask func(location) error) error {
	var failed []error
	for _, l := range r {
		err := ask(l)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
	}
	last := len(failed) - 1
	if last == 0 {
		return failed[0]
	}
	return &mirrorsError{registry: failed[last], mirrors: failed[:last]}
}

// mirrorsError is a reference that neither its registry nor a mirror gives.
type mirrorsError struct {
	registry error
	mirrors  []error
}

func (e *mirrorsError) Error() string {
	return fmt.Sprintf("%v (mirrors: %v)", e.registry, errors.Join(e.mirrors...))
}

func (e *mirrorsError) Unwrap() []error { return append([]error{e.registry}, e.mirrors...) }

// manifestHeader says which manifests are understood.
func manifestHeader() http.Header {
	return http.Header{"Accept": manifest.DefaultRequestedManifestMIMETypes}
}

// current asks which digest a tag has now, without its content.
func (g *gatherer) current(ctx context.Context, r remote) (digest.Digest, error) {
	var found digest.Digest
	err := r.each(ctx, func(l location) error {
		resp, err := l.request(ctx, http.MethodHead, "manifests/"+version(l.name), manifestHeader())
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		found, err = digest.Parse(resp.Header.Get("Docker-Content-Digest"))
		return err
	})
	return found, err
}

// version is a reference's digest or tag.
func version(named reference.Named) string {
	if d, ok := named.(reference.Digested); ok {
		return d.Digest().String()
	}
	if t, ok := named.(reference.Tagged); ok {
		return t.Tag()
	}
	return "latest"
}

// manifest gets a manifest: that of a digest, or with an empty one that of the reference itself. The bytes hash to the digest, and
// to the one that the registry says they have.
func (g *gatherer) manifest(ctx context.Context, w Wanted, r remote, d digest.Digest) (raw []byte, mediaType string, err error) {
	var absent error
	tried := 0
	err = g.retry(ctx, w.Ref, g.options.Attempts, func() error {
		tried++
		err := r.each(ctx, func(l location) (err error) {
			raw, mediaType, err = readManifest(ctx, l, d)
			return err
		})
		_, remembered := g.before(w.Ref, err)
		if remembered && tried > 1 || err != nil && w.Suspected && (definite(err) || g.options.Lenient && unreachable(err)) {
			absent = err // what is probably no image, or is known from before, is not worth a wait
			return nil
		}
		return err
	})
	if err == nil {
		err = absent
	}
	return raw, mediaType, err
}

func readManifest(ctx context.Context, l location, d digest.Digest) ([]byte, string, error) {
	what := version(l.name)
	if d != "" {
		what = d.String()
	}
	resp, err := l.request(ctx, http.MethodGet, "manifests/"+what, manifestHeader())
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, ocigraph.MaxManifest+1))
	if err != nil {
		return nil, "", fmt.Errorf("read manifest from %s: %w", l.host.name, err)
	}
	if len(raw) > ocigraph.MaxManifest {
		return nil, "", fmt.Errorf("read manifest from %s: more than %d bytes", l.host.name, ocigraph.MaxManifest)
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	if isSchema1(mediaType) { // the digest of a signed one is not that of its bytes
		return nil, "", schema1(digest.FromBytes(raw))
	}
	want, err := digest.Parse(what)
	if err != nil {
		want, err = digest.Parse(resp.Header.Get("Docker-Content-Digest"))
	}
	if err == nil {
		if got := want.Algorithm().FromBytes(raw); got != want {
			return nil, "", fmt.Errorf("manifest from %s: %w", l.host.name, &store.DigestError{Want: want, Got: got, Size: int64(len(raw))})
		}
	}
	if !json.Valid(raw) {
		return nil, "", noManifest(l.host.name)
	}
	return raw, mediaType, nil
}

// resumeWorth is how many bytes of a cut transfer are progress enough to count its attempts anew.
const resumeWorth = 256 << 10

// holder is who may have a blob.
type holder struct {
	name string
	get  func(ctx context.Context, header http.Header) (*http.Response, error)
}

// fetch downloads one blob of a registry into the store.
func (g *gatherer) fetch(ctx context.Context, r remote, d v1.Descriptor) error {
	return g.receive(ctx, d, "", func(from func(holder) error) error {
		return r.each(ctx, func(l location) error {
			return from(holder{l.host.name, func(ctx context.Context, header http.Header) (*http.Response, error) {
				return l.request(ctx, http.MethodGet, "blobs/"+d.Digest.String(), header)
			}})
		})
	})
}

// receive brings a blob into the store, from where an earlier transfer of it stopped. try names the places, each time anew.
func (g *gatherer) receive(ctx context.Context, d v1.Descriptor, at string, try func(from func(holder) error) error) (err error) {
	in, err := g.store.Incoming(ctx, d.Digest, d.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	g.options.Progress.Advance(in.Offset())
	t := tries{max: g.options.Attempts}
	what := "blob " + d.Digest.String()
	if at != "" {
		what += " at " + at
	}
	farthest := in.Offset() // where the attempts were last counted anew: what is sent again is no progress
	for {
		err := try(func(h holder) error { return g.transfer(ctx, h, in, d) })
		if err == nil {
			return nil
		}
		if in.Offset() >= farthest+resumeWorth {
			farthest, t.failed = in.Offset(), 0
		}
		if err := g.again(ctx, &t, what, err); err != nil {
			g.options.Progress.Advance(-in.Offset())
			return err
		}
	}
}

var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// transfer gets what is missing of a blob from one holder.
func (g *gatherer) transfer(ctx context.Context, h holder, in *store.Incoming, d v1.Descriptor) error {
	if !in.Complete() {
		resp, err := g.openBlob(ctx, h, in, d)
		if err != nil {
			return err
		}
		buf := copyBuffers.Get().(*[256 << 10]byte)
		_, err = io.CopyBuffer(struct{ io.Writer }{counting{in, g.options.Progress}}, struct{ io.Reader }{resp.Body}, buf[:])
		copyBuffers.Put(buf)
		_ = resp.Body.Close()
		if err != nil {
			if size := new(store.SizeError); errors.As(err, &size) {
				return errors.Join(err, g.rewind(in))
			}
			return fmt.Errorf("read from %s: %w", h.name, err)
		}
	}
	n := in.Offset()
	err := in.Commit()
	g.options.Progress.Advance(in.Offset() - n) // it is thrown away when it is something else
	return err
}

// openBlob asks for what is missing, and begins anew where that cannot be had.
func (g *gatherer) openBlob(ctx context.Context, h holder, in *store.Incoming, d v1.Descriptor) (*http.Response, error) {
	header := http.Header{}
	if in.Offset() > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", in.Offset()))
	}
	resp, err := h.get(ctx, header)
	if err != nil {
		refused := new(StatusError)
		if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
			return nil, errors.Join(err, g.rewind(in))
		}
		return nil, err
	}
	want, got := d.Size-in.Offset(), resp.ContentLength
	begun := resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", in.Offset()))
	if in.Offset() > 0 && !begun { // all of it is sent again
		want = d.Size
		if err := g.rewind(in); err != nil || resp.StatusCode != http.StatusOK {
			_ = resp.Body.Close()
			return nil, errors.Join(fmt.Errorf("%s sends another part than asked for: %w", h.name, io.ErrUnexpectedEOF), err)
		}
	}
	if got >= 0 && got != want {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("blob from %s: %w", h.name, &store.SizeError{Want: want, Got: got})
	}
	return resp, nil
}

func (g *gatherer) rewind(in *store.Incoming) error {
	g.options.Progress.Advance(-in.Offset())
	return in.Rewind()
}

// counting reports what is written.
type counting struct {
	io.Writer
	progress Progress
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.progress.Advance(int64(n))
	return n, err
}
