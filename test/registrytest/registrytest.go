package registrytest

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

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Source is a source of blobs in memory that builds images.
type Source map[digest.Digest][]byte

func (m Source) Stat(d digest.Digest) (int64, bool) {
	data, ok := m[d]
	return int64(len(data)), ok
}

func (m Source) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	data, ok := m[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m Source) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	data, ok := m[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return bytes.NewReader(data), nil
}

func (m Source) Add(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	m[d] = data
	return d
}

func (m Source) Descriptor(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: m.Add(data), Size: int64(len(data))}
}

// Random returns bytes that do not compress and depend on the seed alone.
func Random(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// Image makes an image whose layers have the given contents.
func (m Source) Image(name string, layers ...[]byte) v1.Descriptor {
	config := m.Descriptor(v1.MediaTypeImageConfig, fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","author":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, name))
	man := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config}
	for _, l := range layers {
		man.Layers = append(man.Layers, m.Descriptor("application/vnd.oci.image.layer.v1.tar", l))
	}
	data, _ := json.Marshal(man)
	return m.Descriptor(v1.MediaTypeImageManifest, data)
}

func (m Source) Index(children ...v1.Descriptor) v1.Descriptor {
	data, _ := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
	return m.Descriptor(v1.MediaTypeImageIndex, data)
}

// Samples is a source with a few images that share layers, one of them an index that lacks a platform.
func Samples(t testing.TB) (Source, catalog.Catalog) {
	t.Helper()
	m := Source{}
	shared := Random(1, 300_000)
	pause := m.Image("pause", Random(2, 1000))
	other := m.Image("pause-arm", Random(3, 1000))
	delete(m, other.Digest)
	multi := m.Index(pause, other)
	refs := []catalog.Ref{
		{Name: "registry.k8s.io/pause:3.10", Digest: multi.Digest},
		{Name: "nginx:1.29", Digest: m.Image("nginx", shared, Random(4, 700_000)).Digest},
		{Name: "quay.io/app/nginx:1", Digest: m.Image("app", shared, []byte{}).Digest},
		{Name: "localhost:5000/x/y:latest", Digest: m.Image("x", Random(5, 100)).Digest},
		{Name: "registry.k8s.io/coredns@" + m.Image("coredns", shared).Digest.String(), Digest: m.Image("coredns", shared).Digest},
	}
	c, err := catalog.Build(context.Background(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// Many is a catalog of images with small layers: n blobs, three to an image.
func Many(t testing.TB, n int) (Source, catalog.Catalog) {
	t.Helper()
	m := Source{}
	var refs []catalog.Ref
	for i := 0; len(m) < n; i++ {
		name := fmt.Sprintf("registry.example.com/team-%d/application-%d:v1.%d.%d", i%17, i/4, i%4, i%9)
		refs = append(refs, catalog.Ref{Name: name, Digest: m.Image(name, Random(uint64(i), 40)).Digest})
	}
	c, err := catalog.Build(context.Background(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// Tree returns every file below a directory with its content.
func Tree(t testing.TB, root string) map[string]string {
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

// Fill writes a catalog into a store directly, faster than a session that makes everything durable.
func Fill(t testing.TB, c catalog.Catalog, src Source, store *disk.Store) {
	t.Helper()
	put := func(slashed string, data []byte) {
		path := store.Path(slashed)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range c.Repositories {
		for _, b := range r.Layers {
			put(disk.BlobData(b.Digest), src[b.Digest])
			put(disk.LayerLink(r.Name, b.Digest), []byte(b.Digest))
		}
		for _, b := range r.Manifests {
			put(disk.BlobData(b.Digest), src[b.Digest])
			put(disk.RevisionLink(r.Name, b.Digest), []byte(b.Digest))
		}
		for tag, d := range r.Tags {
			put(disk.TagHistoryLink(r.Name, tag, d), []byte(d))
			put(disk.TagLink(r.Name, tag), []byte(d))
		}
	}
}

// MemoryDir is a temporary directory in memory where there is such a place, for tests that make very many files.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "registry-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Images is a catalog with layers of some sizes.
func Images(t testing.TB, sizes ...int) (Source, catalog.Catalog) {
	t.Helper()
	m := Source{}
	var refs []catalog.Ref
	for i, size := range sizes {
		refs = append(refs, catalog.Ref{Name: fmt.Sprintf("quay.io/app%d:1", i), Digest: m.Image(fmt.Sprint(i), Random(uint64(i+1), size)).Digest})
	}
	c, err := catalog.Build(t.Context(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

func SortedBlobs(c catalog.Catalog) map[string][]any {
	m := map[string][]any{}
	for _, r := range c.Repositories {
		one := catalog.Catalog{Repositories: []catalog.Repository{{Layers: r.Layers}}}
		m[r.Name] = []any{r.Tags, one.Blobs(), catalog.Catalog{Repositories: []catalog.Repository{{Manifests: r.Manifests}}}.Blobs()}
	}
	return m
}

func RepositoryOf(t *testing.T, c catalog.Catalog, name string) catalog.Repository {
	t.Helper()
	i := slices.IndexFunc(c.Repositories, func(r catalog.Repository) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no repository %s", name)
	}
	return c.Repositories[i]
}

func Get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	return Do(t, http.MethodGet, url, header...)
}

func Do(t *testing.T, method, url string, header ...string) (*http.Response, string) {
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
