package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/registry/api"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sirupsen/logrus"
)

// blobSource finds the content of a blob that a repository links to; fs.ErrNotExist if there is none.
type blobSource interface {
	content(r *http.Request, repo string, d digest.Digest) (io.ReadSeekCloser, error)
}

// serveBlobs answers the reading of blobs itself. The distribution registry would take a buffer of 4 MiB for each reader, and
// would copy through it what a store can hand to the kernel as a file.
func serveBlobs(src blobSource, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo, d, ok := blobRoute(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		if err := d.Validate(); err != nil {
			api.Refuse(w, errcode.ErrorCodeDigestInvalid, "the digest is not one", map[string]any{"digest": d})
			return
		}
		content, err := src.content(r, repo, d)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			api.Refuse(w, errcode.ErrorCodeBlobUnknown, "repository "+repo+" has no such blob", map[string]any{"digest": d})
			return
		case err == nil:
			defer content.Close()
			err = probe(r, content)
		}
		if err != nil {
			// Nothing is sent yet, so the client can still be told, and turn to another registry.
			if r.Context().Err() == nil {
				blobFailed(repo, d, err)
			}
			api.Refuse(w, errcode.ErrorCodeUnknown, "the blob cannot be read or is damaged", map[string]any{"digest": d})
			return
		}
		h := w.Header()
		h.Set("ETag", `"`+d.String()+`"`) // what If-None-Match and If-Range are compared with
		h.Set("Docker-Content-Digest", d.String())
		h.Set("Docker-Distribution-Api-Version", "registry/2.0")
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Cache-Control", "max-age=31536000")
		http.ServeContent(w, r, "", time.Time{}, content)
		if c, ok := content.(*placeContent); ok && c.err != nil {
			if r.Context().Err() == nil {
				blobFailed(repo, d, c.err)
			}
			panic(http.ErrAbortHandler) // the answer must not look whole, whatever the protocol
		}
	})
}

func blobFailed(repo string, d digest.Digest, err error) {
	logrus.Errorf("repository %s: blob %s was not served: %v", repo, d, err)
}

// blobRoute takes requests that read a blob, not those of uploads.
func blobRoute(r *http.Request) (repo string, d digest.Digest, ok bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", "", false
	}
	repo, rest, ok := route(r.URL.Path)
	const kind = "/blobs/"
	if !ok || len(rest) <= len(kind) || rest[:len(kind)] != kind || rest[len(kind):] == "uploads" {
		return "", "", false
	}
	return repo, digest.Digest(rest[len(kind):]), true
}

// probe reads the first byte that is asked for: in place that verifies the part of the blob it lies in before the headers are sent.
func probe(r *http.Request, content io.ReadSeeker) error {
	c, ok := content.(*placeContent)
	if !ok || r.Method == http.MethodHead || r.Header.Get("If-None-Match") != "" {
		return nil
	}
	var at int64
	if n, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at); n != 1 || err != nil || at < 0 {
		at = 0
	}
	var first [1]byte
	if at >= c.blob.Size {
		return nil
	}
	if _, err := c.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if n, err := c.Read(first[:]); n == 0 {
		return err
	}
	_, err := c.Seek(0, io.SeekStart)
	return err
}

func (d *placeDriver) content(q *http.Request, repo string, dig digest.Digest) (io.ReadSeekCloser, error) {
	r := d.repos[repo]
	if r == nil || !r.Layers[dig] {
		return nil, fs.ErrNotExist
	}
	return &placeContent{ctx: q.Context(), src: d.src, blob: catalog.Blob{Digest: dig, Size: d.blobs[dig]}, toEnd: q.Header.Get("Range") == ""}, nil
}

// opener opens a blob at a byte, for reading with verification. toEnd says that the reader is going to read all the rest.
type opener interface {
	open(ctx context.Context, b catalog.Blob, offset int64, toEnd bool) (io.ReadCloser, error)
}

// placeContent opens its blob when it is read, at the place it is read from: a HEAD opens nothing.
type placeContent struct {
	ctx  context.Context
	src  opener
	blob catalog.Blob

	toEnd bool // no range was asked for
	at    int64
	r     io.ReadCloser // reads from at on; nil before the first Read and after a Seek elsewhere
	err   error         // that ended the reading, other than io.EOF
}

func (c *placeContent) Read(p []byte) (int, error) {
	if c.at >= c.blob.Size {
		return 0, io.EOF
	}
	if c.err == nil && c.r == nil {
		c.r, c.err = c.src.open(c.ctx, c.blob, c.at, c.toEnd)
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *placeContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.blob.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d in blob %s: %w", offset, c.blob.Digest, catalog.ErrInvalid)
	}
	if offset != c.at {
		c.at = offset
		return offset, c.Close()
	}
	return offset, nil
}

func (c *placeContent) Close() error {
	if c.r == nil {
		return nil
	}
	err := c.r.Close()
	c.r = nil
	return err
}
