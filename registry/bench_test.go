package registry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func BenchmarkPush(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20, 32 << 20} {
		b.Run(fmt.Sprintf("blobs of %d KiB", size>>10), func(b *testing.B) {
			src := mapSource{}
			var layers [][]byte
			n := (128 << 20) / size
			for i := range min(n, 2000) {
				layers = append(layers, random(uint64(i), size))
			}
			c, err := BuildCatalog(b.Context(), []Ref{{"registry.example.com/x:1", src.image("x", layers...).Digest}}, src)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(layers) * size))
			for b.Loop() {
				mustSync(b, c, src, OpenStore(b.TempDir()), PushOptions{})
			}
		})
	}
}

func BenchmarkNothingMissing(b *testing.B) {
	src, c := many(b, 10_000)
	store := OpenStore(memoryDir(b))
	fill(b, c, src, store)
	for b.Loop() {
		out := mustSync(b, c, src, store, PushOptions{})
		b.ReportMetric(float64(out.wire), "wire-bytes")
	}
}

func BenchmarkServeInPlace(b *testing.B) {
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "first reading", true: "later readings"}[again], func(b *testing.B) {
			src := mapSource{}
			layer := random(1, 256<<20)
			c, err := BuildCatalog(b.Context(), []Ref{{"registry.example.com/x:1", src.image("x", layer).Digest}}, src)
			if err != nil {
				b.Fatal(err)
			}
			var big Blob
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
