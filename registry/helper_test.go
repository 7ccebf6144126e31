package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

// images is a catalog with layers of some sizes.
func images(t testing.TB, sizes ...int) (mapSource, Catalog) {
	t.Helper()
	m := mapSource{}
	var refs []Ref
	for i, size := range sizes {
		refs = append(refs, Ref{fmt.Sprintf("quay.io/app%d:1", i), m.image(fmt.Sprint(i), random(uint64(i+1), size)).Digest})
	}
	c, err := BuildCatalog(t.Context(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

func sortedBlobs(c Catalog) map[string][]any {
	m := map[string][]any{}
	for _, r := range c.Repositories {
		one := Catalog{Repositories: []Repository{{Layers: r.Layers}}}
		m[r.Name] = []any{r.Tags, one.Blobs(), Catalog{Repositories: []Repository{{Manifests: r.Manifests}}}.Blobs()}
	}
	return m
}

func repositoryOf(t *testing.T, c Catalog, name string) Repository {
	t.Helper()
	i := slices.IndexFunc(c.Repositories, func(r Repository) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no repository %s", name)
	}
	return c.Repositories[i]
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	return do(t, http.MethodGet, url, header...)
}

func do(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", v1.MediaTypeImageIndex+", "+v1.MediaTypeImageManifest)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, fmt.Sprintf(" (read: %v)", err)...)
	}
	return resp, string(body)
}
