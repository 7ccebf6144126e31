package registry

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

func TestOneMissingImageCostsLittleMoreThanItself(t *testing.T) {
	src, c := many(t, 3_000)
	store := OpenStore(memoryDir(t))
	fill(t, c, src, store)
	ref := Ref{"quay.io/new:1", src.image("new", random(1, 2_000_000), random(2, 400_000)).Digest}
	added, err := BuildCatalog(t.Context(), []Ref{ref}, src)
	if err != nil {
		t.Fatal(err)
	}
	out := mustSync(t, c.Merge(added), src, store, PushOptions{})
	limit := out.sent.BytesMissing*101/100 + 40*int64(out.sent.BlobsKnown)
	if out.sent.BlobsSent != 4 || out.wire > limit {
		t.Errorf("%d bytes on the wire, limit %d: %+v", out.wire, limit, out.sent)
	}
}

// discard is a client that takes everything and keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// Sixteen clients at once took 4 MiB of buffers each, and as much again until the garbage was collected.
func TestServingABlobTakesLittleMemory(t *testing.T) {
	src, c := images(t, 8<<20)
	root := t.TempDir()
	fill(t, c, src, OpenStore(root))
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
	src, c := images(b, 64<<20)
	root := b.TempDir()
	fill(b, c, src, OpenStore(root))
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

// BenchmarkFanout is what sixteen hosts cost this machine when links cost nothing.
func BenchmarkFanout(b *testing.B) {
	src, c := images(b, 8<<20, 4<<20)
	b.SetBytes(16 * 12 << 20)
	for b.Loop() {
		hosts := make([]*simHost, 16)
		for i := range hosts {
			hosts[i] = newSimHost(b, 0)
		}
		if _, errs := fanOut(b, b.Context(), c, src, hosts, nil, nil); errs[0] != nil {
			b.Fatal(errs[0])
		}
	}
}
