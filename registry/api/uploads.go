package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The places of the distribution registry's layout that its storage does not show.
const (
	blobs        = "/docker/registry/v2/blobs"
	repositories = "/docker/registry/v2/repositories"
)

// inUse are the uploads that a request writes to. Two at once would mix their bytes.
type inUse struct{ ids sync.Map }

func (u *inUse) take(id string) bool {
	_, taken := u.ids.LoadOrStore(id, true)
	return !taken
}

func (u *inUse) release(id string) { u.ids.Delete(id) }

// startUpload begins an upload, or does without: a blob that is in the store already is mounted, and one that comes with the
// request is taken at once.
func (h *handler) startUpload(c *call) error {
	ctx := c.r.Context()
	q := c.r.URL.Query()
	// A digest without a blob is what the client is going to send.
	whole := q.Has("digest") && (c.r.ContentLength != 0 || q.Get("digest") == digest.FromBytes(nil).String())
	var d digest.Digest
	var err error
	if whole {
		if d, err = blobDigest(q); err != nil {
			return err
		}
	}
	upload, err := c.repo.Blobs(ctx).Create(ctx, h.mount(ctx, q)...)
	if mounted, ok := errors.AsType[distribution.ErrBlobMounted](err); ok {
		return h.created(c, mounted.Descriptor)
	}
	if err != nil {
		return fmt.Errorf("begin upload: %w", err)
	}
	if whole {
		return h.finish(c, upload, d)
	}
	if err := upload.Close(); err != nil {
		return fmt.Errorf("begin upload: %w", err)
	}
	if err := h.describeUpload(c, upload.ID(), 0); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// mount takes a blob over from the repository that the client names, or from wherever it is. What cannot be mounted is uploaded.
func (h *handler) mount(ctx context.Context, q url.Values) []distribution.BlobCreateOption {
	d, err := digest.Parse(q.Get("mount"))
	if err != nil || d.Algorithm() != digest.SHA256 {
		return nil
	}
	if from := q.Get("from"); from != "" {
		ref, err := canonical(from, d)
		if err != nil {
			return nil
		}
		return []distribution.BlobCreateOption{storage.WithMountFrom(ref)}
	}
	desc, err := h.registry.BlobStatter().Stat(ctx, d)
	if err != nil {
		return nil
	}
	return []distribution.BlobCreateOption{mountAnywhere{desc}}
}

// mountAnywhere mounts a blob that is known to be in the store. Whoever may push may read all of it.
type mountAnywhere struct{ v1.Descriptor }

func (m mountAnywhere) Apply(v any) error {
	o, ok := v.(*distribution.CreateOptions)
	if !ok {
		return fmt.Errorf("mount: unexpected options %T", v)
	}
	ref, err := canonical("anywhere", m.Digest)
	if err != nil {
		return err
	}
	o.Mount.ShouldMount, o.Mount.From, o.Mount.Stat = true, ref, &m.Descriptor
	return nil
}

func canonical(name string, d digest.Digest) (reference.Canonical, error) {
	named, err := reference.WithName(name)
	if err != nil {
		return nil, err
	}
	return reference.WithDigest(named, d)
}

// blobDigest returns the digest that the client says a blob has. The store, its synchronisation and its upkeep know sha256.
func blobDigest(q url.Values) (digest.Digest, error) {
	d, err := digest.Parse(q.Get("digest"))
	if err != nil {
		return "", errcode.ErrorCodeDigestInvalid.WithDetail(err)
	}
	if d.Algorithm() != digest.SHA256 {
		return "", errcode.ErrorCodeDigestInvalid.WithMessage("this registry keeps what has a digest of sha256")
	}
	return d, nil
}

// uploadID returns the id of the upload a request is about. It becomes a path.
func (c *call) uploadID() (string, error) {
	id := c.variable("uuid")
	if strings.Trim(id, "0123456789abcdef-") != "" {
		return "", errcode.ErrorCodeBlobUploadUnknown
	}
	return id, nil
}

// uploadStatus tells how much of an upload is there.
func (h *handler) uploadStatus(c *call) error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	fi, err := h.driver.Stat(c.r.Context(), path.Join(repositories, c.repo.Named().Name(), "_uploads", id, "data"))
	if errors.As(err, new(driver.PathNotFoundError)) {
		return errcode.ErrorCodeBlobUploadUnknown
	}
	if err != nil {
		return fmt.Errorf("look at upload %s: %w", id, err)
	}
	if err := h.describeUpload(c, id, fi.Size()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// resumed calls do with an upload that nobody else writes to meanwhile.
func (h *handler) resumed(c *call, do func(id string, upload distribution.BlobWriter) error) error {
	ctx := c.r.Context()
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	if !h.uploads.take(id) {
		return errcode.ErrorCodeRangeInvalid.WithMessage("another request is writing to this upload")
	}
	defer h.uploads.release(id)
	upload, err := c.repo.Blobs(ctx).Resume(ctx, id)
	if errors.Is(err, distribution.ErrBlobUploadUnknown) {
		return errcode.ErrorCodeBlobUploadUnknown
	}
	if err != nil {
		return fmt.Errorf("go on with upload %s: %w", id, err)
	}
	return do(id, upload)
}

// continueUpload takes a chunk, or a stream of unknown length.
func (h *handler) continueUpload(c *call) error {
	return h.resumed(c, func(id string, upload distribution.BlobWriter) error {
		err := h.takeChunk(c, upload)
		if err := errors.Join(err, upload.Close()); err != nil {
			return err
		}
		if err := h.describeUpload(c, id, upload.Size()); err != nil {
			return err
		}
		c.w.WriteHeader(http.StatusAccepted)
		return nil
	})
}

// endUpload takes the last chunk, if there is one, and makes the upload a blob if it is the one that the client says.
func (h *handler) endUpload(c *call) error {
	d, err := blobDigest(c.r.URL.Query())
	if err != nil {
		return err
	}
	return h.resumed(c, func(_ string, upload distribution.BlobWriter) error { return h.finish(c, upload, d) })
}

func (h *handler) cancelUpload(c *call) error {
	return h.resumed(c, func(id string, upload distribution.BlobWriter) error {
		if err := upload.Cancel(c.r.Context()); err != nil {
			return fmt.Errorf("cancel upload %s: %w", id, err)
		}
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// finish takes the request's body as the end of an upload. What turns out to be another blob is thrown away.
func (h *handler) finish(c *call, upload distribution.BlobWriter, d digest.Digest) error {
	ctx := c.r.Context()
	if err := h.takeChunk(c, upload); err != nil {
		return errors.Join(err, upload.Close())
	}
	desc, err := upload.Commit(ctx, v1.Descriptor{Digest: d})
	if err == nil {
		return h.created(c, desc)
	}
	switch {
	case errors.As(err, new(distribution.ErrBlobInvalidDigest)):
		err = errcode.ErrorCodeDigestInvalid.WithMessage("what was sent does not have this digest").WithDetail(map[string]any{"digest": d})
	case errors.Is(err, distribution.ErrBlobInvalidLength):
		err = errcode.ErrorCodeBlobUploadInvalid.WithDetail(err)
	}
	if cancelErr := upload.Cancel(context.WithoutCancel(ctx)); cancelErr != nil {
		err = errors.Join(err, fmt.Errorf("remove upload: %w", cancelErr))
	}
	return err
}

// takeChunk writes a request's body behind what an upload has.
func (h *handler) takeChunk(c *call, upload distribution.BlobWriter) error {
	if text := c.r.Header.Get("Content-Range"); text != "" {
		first, last, err := parseContentRange(text)
		if err != nil {
			return errcode.ErrorCodeRangeInvalid.WithDetail(err)
		}
		if first != upload.Size() {
			return errcode.ErrorCodeRangeInvalid.WithMessage(fmt.Sprintf("the chunk begins at byte %d, the upload goes on at %d", first, upload.Size()))
		}
		if n := c.r.ContentLength; n >= 0 && n != last-first+1 {
			return errcode.ErrorCodeSizeInvalid.WithMessage(fmt.Sprintf("the chunk has %d bytes, its range %d", n, last-first+1))
		}
	}
	body := &toldReader{r: c.r.Body}
	_, err := io.Copy(upload, body)
	if body.err != nil {
		return errcode.ErrorCodeSizeInvalid.WithMessage("the request broke off").WithDetail(body.err)
	}
	if err != nil {
		return fmt.Errorf("take chunk: %w", err)
	}
	return nil
}

// toldReader keeps the error of reading, to tell a client that went away from a disk that is full.
type toldReader struct {
	r   io.Reader
	err error
}

func (t *toldReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

// describeUpload tells where an upload goes on.
func (h *handler) describeUpload(c *call, id string, size int64) error {
	location, err := h.urls(c).BuildBlobUploadChunkURL(c.repo.Named(), id)
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Location", location)
	header.Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	header.Set("Docker-Upload-Uuid", id)
	header.Set("Content-Length", "0")
	return nil
}

// created answers that a blob is in the repository.
func (h *handler) created(c *call, desc v1.Descriptor) error {
	ref, err := reference.WithDigest(c.repo.Named(), desc.Digest)
	if err != nil {
		return err
	}
	location, err := h.urls(c).BuildBlobURL(ref)
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Location", location)
	header.Set("Docker-Content-Digest", desc.Digest.String())
	header.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}
