package storesync

import (
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// Whatever byte the line is cut at, what is there stays valid, and the next session sends the rest only.
func TestResumeAfterACutAnywhere(t *testing.T) {
	src, c := registrytest.Samples(t)
	whole := disk.Open(t.TempDir())
	full := mustSync(t, c, src, whole, PushOptions{})
	want := registrytest.Tree(t, whole.Root())

	// Small bytes first, where the protocol's own frames are; then all over, and around every 64 KiB.
	cuts := []int64{}
	for i := int64(0); i < 700; i += 17 {
		cuts = append(cuts, i)
	}
	for i := int64(0); i < full.wire; i += 64 << 10 {
		cuts = append(cuts, i-1, i, i+1)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		cuts = append(cuts, r.Int64N(full.wire))
	}
	for back := int64(1); back < 400; back += 19 {
		cuts = append(cuts, full.wire-back)
	}
	if testing.Short() {
		cuts = cuts[:20]
	}
	for _, cut := range cuts {
		if cut < 0 {
			continue
		}
		store := disk.Open(registrytest.MemoryDir(t))
		first := syncStores(c, src, store, PushOptions{}, cut)
		if bad, err := store.Verify(context.Background(), nil); err != nil || len(bad) > 0 {
			t.Fatalf("cut at %d: damaged blobs %v, %v", cut, bad, err)
		}
		kept := keptBytes(t, store)
		if kept != first.received.BytesSent {
			t.Fatalf("cut at %d: %d bytes of blobs came, %d were kept", cut, first.received.BytesSent, kept)
		}
		second := mustSync(t, c, src, store, PushOptions{})
		if sum := first.received.BytesSent + second.sent.BytesSent; sum != full.sent.BytesSent {
			t.Fatalf("cut at %d: %d + %d bytes of blobs sent, want %d", cut, first.received.BytesSent, second.sent.BytesSent, full.sent.BytesSent)
		}
		if diff := cmp.Diff(want, registrytest.Tree(t, store.Root())); diff != "" {
			t.Fatalf("cut at %d: the store differs:\n%.2000s", cut, diff)
		}
	}
	t.Logf("%d cuts", len(cuts))
}

// keptBytes is the size of all blobs, whole and partial.
func keptBytes(t *testing.T, s *disk.Store) (n int64) {
	for name, data := range registrytest.Tree(t, s.Root()) {
		if strings.HasSuffix(name, "/data") || strings.HasPrefix(name, disk.PartialDirectory) {
			n += int64(len(data))
		}
	}
	return n
}

func TestDamagedBlobsAreReplaced(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})
	want := registrytest.Tree(t, store.Root())
	blobs := c.Blobs()
	largest := blobs[0]
	for _, b := range blobs {
		if b.Size > largest.Size {
			largest = b
		}
	}
	path := store.Path(disk.BlobData(largest.Digest))

	if err := os.Truncate(path, largest.Size-1); err != nil {
		t.Fatal(err)
	}
	if out := mustSync(t, c, src, store, PushOptions{}); out.sent.BlobsSent != 1 {
		t.Errorf("a short blob: %+v", out.sent)
	}

	if err := os.WriteFile(path, make([]byte, largest.Size), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := mustSync(t, c, src, store, PushOptions{}); out.sent.BlobsSent != 0 {
		t.Errorf("damage inside without being asked to verify: %+v", out.sent)
	}
	if out := mustSync(t, c, src, store, PushOptions{Verify: true}); out.sent.BlobsSent != 1 {
		t.Errorf("damage inside: %+v", out.sent)
	}
	if diff := cmp.Diff(want, registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}

// After a power cut a partial blob can hold zeros where bytes were lost.
func TestSpoiltPartialBlobIsSentAgain(t *testing.T) {
	src, c := registrytest.Samples(t)
	b := c.Blobs()[0]
	for _, x := range c.Blobs() {
		if x.Size > b.Size {
			b = x
		}
	}
	store := disk.Open(t.TempDir())
	partial := store.Path(disk.PartialDirectory + "/" + b.Digest.Encoded())
	if err := os.MkdirAll(store.Path(disk.PartialDirectory), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(partial, make([]byte, b.Size/2), 0o644); err != nil {
		t.Fatal(err)
	}
	out := mustSync(t, c, src, store, PushOptions{})
	if bad, err := store.Verify(context.Background(), nil); err != nil || len(bad) > 0 {
		t.Fatalf("damaged blobs %v, %v", bad, err)
	}
	if out.sent.BlobsSent != len(c.Blobs())+1 {
		t.Errorf("%d blobs sent, want one twice", out.sent.BlobsSent)
	}
}

func TestTwoPlacesFillOneStore(t *testing.T) {
	src, c := registrytest.Samples(t)
	want := disk.Open(t.TempDir())
	mustSync(t, c, src, want, PushOptions{})
	store := disk.Open(t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			out := syncStores(c, src, store, PushOptions{}, -1)
			if out.sendErr != nil || out.recvErr != nil {
				t.Errorf("sync: %v, %v", out.sendErr, out.recvErr)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(registrytest.Tree(t, want.Root()), registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}
