package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// mapSource is a Source in memory that builds images.
type mapSource map[digest.Digest][]byte

func (m mapSource) Stat(d digest.Digest) (int64, bool) {
	data, ok := m[d]
	return int64(len(data)), ok
}

func (m mapSource) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	data, ok := m[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m mapSource) BlobAt(d digest.Digest) (BlobReader, error) {
	data, ok := m[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return bytes.NewReader(data), nil
}

func (m mapSource) add(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	m[d] = data
	return d
}

func (m mapSource) descriptor(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: m.add(data), Size: int64(len(data))}
}

// random returns bytes that do not compress and depend on the seed alone.
func random(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// image makes an image whose layers have the given contents.
func (m mapSource) image(name string, layers ...[]byte) v1.Descriptor {
	config := m.descriptor(v1.MediaTypeImageConfig, fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","author":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, name))
	man := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config}
	for _, l := range layers {
		man.Layers = append(man.Layers, m.descriptor("application/vnd.oci.image.layer.v1.tar", l))
	}
	data, _ := json.Marshal(man)
	return m.descriptor(v1.MediaTypeImageManifest, data)
}

func (m mapSource) index(children ...v1.Descriptor) v1.Descriptor {
	data, _ := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
	return m.descriptor(v1.MediaTypeImageIndex, data)
}

// samples is a source with a few images that share layers, one of them an index that lacks a platform.
func samples(t testing.TB) (mapSource, Catalog) {
	t.Helper()
	m := mapSource{}
	shared := random(1, 300_000)
	pause := m.image("pause", random(2, 1000))
	other := m.image("pause-arm", random(3, 1000))
	delete(m, other.Digest)
	multi := m.index(pause, other)
	refs := []Ref{
		{"registry.k8s.io/pause:3.10", multi.Digest},
		{"nginx:1.29", m.image("nginx", shared, random(4, 700_000)).Digest},
		{"quay.io/app/nginx:1", m.image("app", shared, []byte{}).Digest},
		{"localhost:5000/x/y:latest", m.image("x", random(5, 100)).Digest},
		{"registry.k8s.io/coredns@" + m.image("coredns", shared).Digest.String(), m.image("coredns", shared).Digest},
	}
	c, err := BuildCatalog(context.Background(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// many is a catalog of images with small layers: n blobs, three to an image.
func many(t testing.TB, n int) (mapSource, Catalog) {
	t.Helper()
	m := mapSource{}
	var refs []Ref
	for i := 0; len(m) < n; i++ {
		name := fmt.Sprintf("registry.example.com/team-%d/application-%d:v1.%d.%d", i%17, i/4, i%4, i%9)
		refs = append(refs, Ref{name, m.image(name, random(uint64(i), 40)).Digest})
	}
	c, err := BuildCatalog(context.Background(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// meter counts the bytes of one direction and fails after a number of them.
type meter struct {
	w     io.Writer
	n     int64
	limit int64 // -1 for none
	cut   func()
}

var errCut = errors.New("the line was cut")

func (m *meter) Write(p []byte) (int, error) {
	if m.limit >= 0 && m.n+int64(len(p)) > m.limit {
		n, _ := m.w.Write(p[:m.limit-m.n])
		m.n += int64(n)
		m.cut()
		return n, errCut
	}
	n, err := m.w.Write(p)
	m.n += int64(n)
	return n, err
}

// outcome is what both ends of a session say.
type outcome struct {
	sent, received   Receipt
	sendErr, recvErr error
	wire             int64 // bytes both ways
}

// sync runs a session over two pipes. cut is the number of bytes after which the line from the sender breaks, -1 for never.
func syncStores(c Catalog, src Source, to *Store, o PushOptions, cut int64) (out outcome) {
	sr, sw := io.Pipe()
	rr, rw := io.Pipe()
	down := &meter{w: sw, limit: cut, cut: func() {
		sw.CloseWithError(io.ErrUnexpectedEOF)
		rr.CloseWithError(errCut)
	}}
	up := &meter{w: rw, limit: -1}
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.received, out.recvErr = to.Receive(context.Background(), sr, up)
		sr.CloseWithError(errCut)
		rw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	out.sent, out.sendErr = Push(context.Background(), down, rr, c, src, o)
	sw.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	out.wire = down.n + up.n
	return out
}

func mustSync(t testing.TB, c Catalog, src Source, to *Store, o PushOptions) outcome {
	t.Helper()
	out := syncStores(c, src, to, o, -1)
	if out.sendErr != nil || out.recvErr != nil {
		t.Fatalf("sync: send %v, receive %v", out.sendErr, out.recvErr)
	}
	return out
}

// tree returns every file below a directory with its content.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fill writes a catalog into a store directly, faster than a session that makes everything durable.
func fill(t testing.TB, c Catalog, src mapSource, store *Store) {
	t.Helper()
	put := func(slashed string, data []byte) {
		path := store.path(slashed)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range c.Repositories {
		for _, b := range r.Layers {
			put(blobData(b.Digest), src[b.Digest])
			put(layerLink(r.Name, b.Digest), []byte(b.Digest))
		}
		for _, b := range r.Manifests {
			put(blobData(b.Digest), src[b.Digest])
			put(revisionLink(r.Name, b.Digest), []byte(b.Digest))
		}
		for tag, d := range r.Tags {
			put(tagHistoryLink(r.Name, tag, d), []byte(d))
			put(tagLink(r.Name, tag), []byte(d))
		}
	}
}

// memoryDir is a temporary directory in memory where there is such a place, for tests that make very many files.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "registry-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
