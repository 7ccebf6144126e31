package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/registry/api"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"
)

const (
	// checkedFor is how long a blob that was right is taken to be right: disks lose what they held without telling.
	checkedFor = time.Hour
	// checkedFirst is the size in bytes up to which a blob is read before its first byte is sent, so that a client hears of damage
	// while it can still ask another registry. Of a larger one damage is found at the end, and the next client hears of it.
	checkedFirst = 64 << 20
)

// checker serves those blobs of a store that match their digests. A blob that does not match is set aside: clients and other
// programs do not get it, clients ask the next registry, and the next sync brings it back.
type checker struct {
	store  *disk.Store
	flight singleflight.Group

	mu       sync.Mutex
	verdicts map[digest.Digest]verdict
}

// verdict tells whether a file matched the digest of its blob when it was read.
type verdict struct {
	file  disk.FileID
	right bool
	at    time.Time
}

func newChecker(s *disk.Store) *checker {
	return &checker{store: s, verdicts: map[digest.Digest]verdict{}}
}

func (c *checker) verdict(d digest.Digest, file disk.FileID) (right, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.verdicts[d]
	return v.right, ok && v.file == file && (!v.right || time.Since(v.at) < checkedFor)
}

// judge remembers whether a file matched its digest, and sets it aside if not.
func (c *checker) judge(d digest.Digest, file disk.FileID, right bool) {
	c.mu.Lock()
	c.verdicts[d] = verdict{file, right, time.Now()}
	c.mu.Unlock()
	if right {
		return
	}
	logrus.Errorf("registry: blob %s is damaged on the disk: it is not served; sync or verify brings it back", d)
	if err := c.store.SetAside(d, file); err != nil {
		logrus.Warnf("registry: blob %s cannot be set aside: %v", d, err)
	}
}

// content implements blobSource.
func (c *checker) content(r *http.Request, repo string, d digest.Digest) (io.ReadSeekCloser, error) {
	if !catalog.IsSHA256(d) || catalog.CheckRepository(repo) != nil || !disk.LinkHolds(c.store.Path(disk.LayerLink(repo, d)), d) {
		return nil, fs.ErrNotExist
	}
	f, err := c.store.File(d)
	if err != nil {
		return nil, err
	}
	file, err := disk.Identify(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("stat blob %s: %w", d, err)
	}
	right, known := c.verdict(d, file)
	if known && right || !known && r.Method == http.MethodHead {
		return f, nil // as a file, which the kernel can send by itself
	}
	f.Close()
	if known {
		return nil, fs.ErrNotExist
	}
	if file.Size > checkedFirst && r.Header.Get("Range") == "" {
		return &placeContent{ctx: r.Context(), src: c, blob: catalog.Blob{Digest: d, Size: file.Size}, toEnd: true}, nil
	}
	if err := c.check(r.Context(), d); err != nil {
		if errors.Is(err, catalog.ErrDamaged) {
			err = fs.ErrNotExist
		}
		return nil, err
	}
	return c.store.File(d)
}

// open implements opener: it reads a blob that nobody has read before, from its beginning.
func (c *checker) open(_ context.Context, b catalog.Blob, offset int64, _ bool) (io.ReadCloser, error) {
	f, err := c.store.File(b.Digest)
	if err != nil {
		return nil, err
	}
	file, err := disk.Identify(f)
	if err == nil && (offset != 0 || file.Size != b.Size) {
		err = fmt.Errorf("blob %s: %d bytes from byte %d where %d were expected: %w", b.Digest, file.Size, offset, b.Size, catalog.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &hashingReader{judge: func(right bool) { c.judge(b.Digest, file, right) }, blob: b, in: f, hash: sha256.New()}, nil
}

// check reads a blob to its end, unless it is known to be right.
func (c *checker) check(ctx context.Context, d digest.Digest) error {
	return shared(ctx, &c.flight, d, func() error {
		f, err := c.store.File(d)
		if err != nil {
			return err
		}
		defer f.Close()
		file, err := disk.Identify(f)
		if err != nil {
			return err
		}
		if right, known := c.verdict(d, file); known && right {
			return nil
		}
		h := sha256.New()
		if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, readPiece)); err != nil {
			return fmt.Errorf("read blob %s: %w", d, err)
		}
		right := digest.NewDigest(digest.SHA256, h) == d
		c.judge(d, file, right)
		if !right {
			return fmt.Errorf("blob %s: %w", d, catalog.ErrDamaged)
		}
		return nil
	})
}

// manifests checks the manifest that a request names before next reads it.
func (c *checker) manifests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo, rest, ok := route(r.URL.Path)
		ref, manifest := strings.CutPrefix(rest, "/manifests/")
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !ok || !manifest || !read || catalog.CheckRepository(repo) != nil {
			next.ServeHTTP(w, r)
			return
		}
		d := digest.Digest(ref)
		if catalog.CheckTag(ref) == nil {
			link, err := os.ReadFile(c.store.Path(disk.TagLink(repo, ref)))
			if err == nil {
				d = digest.Digest(link)
			}
		}
		if catalog.IsSHA256(d) && disk.LinkHolds(c.store.Path(disk.RevisionLink(repo, d)), d) && errors.Is(c.check(r.Context(), d), catalog.ErrDamaged) {
			api.Refuse(w, errcode.ErrorCodeManifestUnknown, "the manifest is damaged on this registry's disk", map[string]any{"name": repo, "digest": d})
			return
		}
		next.ServeHTTP(w, r)
	})
}
