package storesync

import (
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestOneMissingImageCostsLittleMoreThanItself(t *testing.T) {
	src, c := registrytest.Many(t, 3_000)
	store := disk.Open(registrytest.MemoryDir(t))
	registrytest.Fill(t, c, src, store)
	ref := catalog.Ref{Name: "quay.io/new:1", Digest: src.Image("new", registrytest.Random(1, 2_000_000), registrytest.Random(2, 400_000)).Digest}
	added, err := catalog.Build(t.Context(), []catalog.Ref{ref}, src)
	if err != nil {
		t.Fatal(err)
	}
	out := mustSync(t, c.Merge(added), src, store, PushOptions{})
	limit := out.sent.BytesMissing*101/100 + 40*int64(out.sent.BlobsKnown)
	if out.sent.BlobsSent != 4 || out.wire > limit {
		t.Errorf("%d bytes on the wire, limit %d: %+v", out.wire, limit, out.sent)
	}
}

// BenchmarkFanout is what sixteen hosts cost this machine when links cost nothing.
func BenchmarkFanout(b *testing.B) {
	src, c := registrytest.Images(b, 8<<20, 4<<20)
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
