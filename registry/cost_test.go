package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// discard is a client that takes everything and keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// Sixteen clients at once took 4 MiB of buffers each, and as much again until the garbage was collected.
func TestServingABlobTakesLittleMemory(t *testing.T) {
	src, c := registrytest.Images(t, 8<<20)
	root := t.TempDir()
	registrytest.Fill(t, c, src, disk.Open(root))
	r := c.Repositories[0]
	for name, o := range map[string]HandlerOptions{"in place": {Catalog: &c, Source: src}, "from a store": {Root: root}} {
		t.Run(name, func(t *testing.T) {
			h, err := NewHandler(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			read := func() {
				q := httptest.NewRequest(http.MethodGet, "/v2/"+r.Name+"/blobs/"+r.Layers[1].Digest.String(), nil)
				h.ServeHTTP(discard{http.Header{}}, q)
			}
			read()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const n = 20
			for range n {
				read()
			}
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 128<<10 {
				t.Errorf("%d bytes for a request", each)
			}
		})
	}
}

func BenchmarkServeStore(b *testing.B) {
	src, c := registrytest.Images(b, 64<<20)
	root := b.TempDir()
	registrytest.Fill(b, c, src, disk.Open(root))
	h, err := NewHandler(b.Context(), HandlerOptions{Root: root})
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	layer := c.Repositories[0].Layers[1]
	b.SetBytes(layer.Size)
	b.ReportAllocs()
	for b.Loop() {
		readAll(b, s.URL+"/v2/"+c.Repositories[0].Name+"/blobs/"+layer.Digest.String(), layer.Size)
	}
}

func BenchmarkServeInPlace(b *testing.B) {
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "first reading", true: "later readings"}[again], func(b *testing.B) {
			src := registrytest.Source{}
			layer := registrytest.Random(1, 256<<20)
			c, err := catalog.Build(b.Context(), []catalog.Ref{{Name: "registry.example.com/x:1", Digest: src.Image("x", layer).Digest}}, src)
			if err != nil {
				b.Fatal(err)
			}
			var big catalog.Blob
			for _, l := range c.Blobs() {
				if l.Size > big.Size {
					big = l
				}
			}
			var s *httptest.Server
			open := func() {
				h, err := NewHandler(b.Context(), HandlerOptions{Catalog: &c, Source: src})
				if err != nil {
					b.Fatal(err)
				}
				s = httptest.NewServer(h)
			}
			read := func() { readAll(b, s.URL+"/v2/x/blobs/"+big.Digest.String(), big.Size) }
			if again {
				open()
				defer s.Close()
				read()
			}
			b.SetBytes(big.Size)
			for b.Loop() {
				if !again {
					open()
				}
				read()
				if !again {
					s.Close()
				}
			}
		})
	}
}

// readAll reads a blob of a server and fails unless it has its size.
func readAll(b *testing.B, url string, size int64) {
	b.Helper()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		b.Fatal(n, err)
	}
}
