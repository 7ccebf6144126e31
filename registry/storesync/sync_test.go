package storesync

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestPushFillsAnEmptyStore(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	out := mustSync(t, c, src, store, PushOptions{})
	blobs := c.Blobs()
	if out.sent.BlobsSent != len(blobs) || out.sent.BlobsKnown != 0 || out.received.BlobsSent != len(blobs) {
		t.Errorf("receipts %+v, %+v; want %d blobs sent", out.sent, out.received, len(blobs))
	}
	if out.sent.WireBytes != out.wire || out.received.WireBytes != out.wire {
		t.Errorf("wire bytes: sender says %d, receiver %d, the line %d", out.sent.WireBytes, out.received.WireBytes, out.wire)
	}
	got, err := store.Catalog(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registrytest.SortedBlobs(c), registrytest.SortedBlobs(got)); diff != "" {
		t.Errorf("catalog of the store (-want +got):\n%s", diff)
	}
	if bad, err := store.Verify(context.Background(), nil); err != nil || len(bad) > 0 {
		t.Errorf("verify: %v, %v", bad, err)
	}
	if _, err := os.Stat(store.Path(disk.OwnDirectory)); !os.IsNotExist(err) {
		t.Errorf("temporary files stay: %v", registrytest.Tree(t, store.Path(disk.OwnDirectory)))
	}
}

func TestSecondPushSendsNothingAndWritesNothing(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})
	before := modTimes(t, store)
	out := mustSync(t, c, src, store, PushOptions{})
	if out.sent.BlobsSent+out.sent.LinksSet+out.sent.TagsSet+out.sent.BlobsMissing != 0 {
		t.Errorf("second push: %+v", out.sent)
	}
	if diff := cmp.Diff(before, modTimes(t, store)); diff != "" {
		t.Errorf("files changed:\n%s", diff)
	}
}

func modTimes(t *testing.T, s *disk.Store) map[string]time.Time {
	m := map[string]time.Time{}
	for name := range registrytest.Tree(t, s.Root()) {
		fi, err := os.Stat(s.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		m[name] = fi.ModTime()
	}
	return m
}

func TestTenThousandKnownBlobsCostLittle(t *testing.T) {
	src, c := registrytest.Many(t, 10_000)
	store := disk.Open(registrytest.MemoryDir(t))
	registrytest.Fill(t, c, src, store)
	out := mustSync(t, c, src, store, PushOptions{})
	t.Logf("%d blobs known: %d bytes on the wire", len(c.Blobs()), out.wire)
	if out.wire > 500_000 || out.wire > 40*int64(len(c.Blobs())) {
		t.Errorf("%d bytes on the wire", out.wire)
	}

	layer := registrytest.Random(99, 3_000_000)
	more := src.Image("new", layer)
	c2, err := catalog.Build(context.Background(), []catalog.Ref{{Name: "registry.example.com/new:1", Digest: more.Digest}}, src)
	if err != nil {
		t.Fatal(err)
	}
	c.Repositories = append(c.Repositories, c2.Repositories...)
	out = mustSync(t, c, src, store, PushOptions{})
	known := int64(out.sent.BlobsKnown)
	if limit := out.sent.BytesMissing*101/100 + 40*known; out.wire > limit {
		t.Errorf("one image missing: %d bytes on the wire, limit %d", out.wire, limit)
	}
	t.Logf("one image of %d bytes missing: %d bytes on the wire", out.sent.BytesMissing, out.wire)
}

func TestDryRunSaysWhatIsMissingAndMakesNothing(t *testing.T) {
	src, c := registrytest.Samples(t)
	root := t.TempDir() + "/new"
	out := mustSync(t, c, src, disk.Open(root), PushOptions{DryRun: true})
	if out.sent.BlobsMissing != len(c.Blobs()) || out.sent.BytesMissing == 0 || out.sent.BlobsSent != 0 {
		t.Errorf("receipt %+v", out.sent)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("the root was made: %v", err)
	}
}

func TestCopyModeSendsEverything(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})
	var progress, left int64
	out := mustSync(t, c, src, store, PushOptions{All: true, Progress: func(n int64) { progress += n }, Left: func(n int64) { left = n }})
	if left != out.sent.BytesMissing || left != progress {
		t.Errorf("%d bytes were to come, %d did, %d are missing", left, progress, out.sent.BytesMissing)
	}
	if out.sent.BlobsSent != len(c.Blobs()) || progress != out.sent.BytesSent || progress == 0 {
		t.Errorf("%d blobs and %d bytes sent, progress %d", out.sent.BlobsSent, out.sent.BytesSent, progress)
	}
}

func TestStoreFillsAnotherStore(t *testing.T) {
	src, c := registrytest.Samples(t)
	a, b := disk.Open(t.TempDir()), disk.Open(t.TempDir())
	mustSync(t, c, src, a, PushOptions{})
	read, err := a.Catalog(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	mustSync(t, read, a, b, PushOptions{})
	if diff := cmp.Diff(registrytest.Tree(t, a.Root()), registrytest.Tree(t, b.Root())); diff != "" {
		t.Errorf("the stores differ:\n%.2000s", diff)
	}
}

func TestSourceThatLiesIsFoundOut(t *testing.T) {
	src, c := registrytest.Samples(t)
	bad := registrytest.Source{}
	for d, data := range src {
		bad[d] = data
	}
	victim := c.Repositories[0].Layers[0].Digest
	bad[victim] = append([]byte{}, bad[victim]...)
	if len(bad[victim]) == 0 {
		t.Fatal("empty victim")
	}
	bad[victim][0] ^= 1
	store := disk.Open(t.TempDir())
	out := syncStores(c, bad, store, PushOptions{}, -1)
	if out.sendErr == nil || out.recvErr == nil {
		t.Fatalf("no error: %v, %v", out.sendErr, out.recvErr)
	}
	if _, ok := store.Stat(victim); ok {
		t.Error("the damaged blob is in the store")
	}
	if names, _ := store.Repositories(context.Background()); len(names) > 0 {
		t.Errorf("repositories %v are there although a blob is missing", names)
	}
}

// hashedSource is a source that verifies, like a bundle, and tells how it was read.
type hashedSource struct {
	registrytest.Source
	unverified, verified *int
}

func (h hashedSource) OpenUnverified(d digest.Digest) (io.ReadCloser, error) {
	*h.unverified++
	return h.Source.OpenBlob(d)
}

func (h hashedSource) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	*h.verified++
	if digest.FromBytes(h.Source[d]) != d {
		return nil, errSpoilt
	}
	return h.Source.OpenBlob(d)
}

var errSpoilt = errors.New("the bundle is damaged")

// Bytes are hashed where they arrive. Hashing them here as well costs a core; it is done when the other end complains, so that the
// one is named who is to blame.
func TestSourceVerifiesOnlyWhatArrivedDamaged(t *testing.T) {
	src, c := registrytest.Samples(t)
	n := 0
	good := hashedSource{src, &n, new(int)}
	if mustSync(t, c, good, disk.Open(t.TempDir()), PushOptions{}); n != len(c.Blobs()) || *good.verified != 0 {
		t.Errorf("%d blobs were read without and %d with verification, of %d", n, *good.verified, len(c.Blobs()))
	}
	bad := hashedSource{registrytest.Source{}, new(int), new(int)}
	for d, data := range src {
		bad.Source[d] = data
	}
	victim := c.Repositories[0].Layers[0].Digest
	bad.Source[victim] = append([]byte{1}, bad.Source[victim][1:]...)
	store := disk.Open(t.TempDir())
	out := syncStores(c, bad, store, PushOptions{}, -1)
	if !errors.Is(out.sendErr, errSpoilt) || *bad.verified != 1 {
		t.Errorf("%d blobs were read with verification: %v", *bad.verified, out.sendErr)
	}
	if _, ok := store.Stat(victim); ok {
		t.Error("the damaged blob is in the store")
	}
}

func TestReceiverThatCannotWriteTellsTheSender(t *testing.T) {
	src, c := registrytest.Samples(t)
	root := t.TempDir() + "/file"
	if err := os.WriteFile(root, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	out := syncStores(c, src, disk.Open(root), PushOptions{}, -1)
	if out.sendErr == nil || !strings.Contains(out.sendErr.Error(), "not a directory") {
		t.Errorf("the sender says %v", out.sendErr)
	}
}

func TestCancelledPushReturns(t *testing.T) {
	src, c := registrytest.Samples(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, w, err := os.Pipe() // nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := Push(ctx, w, r, c, src, PushOptions{}); err == nil {
		t.Error("no error")
	}
}

func TestNamesThatWouldLeaveTheStoreAreRefused(t *testing.T) {
	d := digest.FromString("x")
	for _, name := range []string{"..", "../x", "a/../b", "/a", "a//b", "a/_layers", "A", "", "a/", strings.Repeat("a", 256)} {
		c := catalog.Catalog{Repositories: []catalog.Repository{{Name: name, Layers: []catalog.Blob{{Digest: d, Size: 1}}}}}
		if err := c.Validate(); err == nil {
			t.Errorf("name %q is taken", name)
		}
	}
	for _, tag := range []string{"", "..", "a/b", ".x", strings.Repeat("a", 129)} {
		c := catalog.Catalog{Repositories: []catalog.Repository{{Name: "a", Manifests: []catalog.Blob{{Digest: d, Size: 1}}, Tags: map[string]digest.Digest{tag: d}}}}
		if err := c.Validate(); err == nil {
			t.Errorf("tag %q is taken", tag)
		}
	}
	for _, dig := range []digest.Digest{"", "sha256:abc", "sha512:" + digest.Digest(strings.Repeat("a", 128)), digest.Digest("sha256:" + strings.Repeat("../", 21) + "x")} {
		c := catalog.Catalog{Repositories: []catalog.Repository{{Name: "a", Layers: []catalog.Blob{{Digest: dig, Size: 1}}}}}
		if err := c.Validate(); err == nil {
			t.Errorf("digest %q is taken", dig)
		}
	}
}
