package storesync

import (
	"fmt"
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func BenchmarkPush(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20, 32 << 20} {
		b.Run(fmt.Sprintf("blobs of %d KiB", size>>10), func(b *testing.B) {
			src := registrytest.Source{}
			var layers [][]byte
			n := (128 << 20) / size
			for i := range min(n, 2000) {
				layers = append(layers, registrytest.Random(uint64(i), size))
			}
			c, err := catalog.Build(b.Context(), []catalog.Ref{{Name: "registry.example.com/x:1", Digest: src.Image("x", layers...).Digest}}, src)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(layers) * size))
			for b.Loop() {
				mustSync(b, c, src, disk.Open(b.TempDir()), PushOptions{})
			}
		})
	}
}

func BenchmarkNothingMissing(b *testing.B) {
	src, c := registrytest.Many(b, 10_000)
	store := disk.Open(registrytest.MemoryDir(b))
	registrytest.Fill(b, c, src, store)
	for b.Loop() {
		out := mustSync(b, c, src, store, PushOptions{})
		b.ReportMetric(float64(out.wire), "wire-bytes")
	}
}
