package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestSameInputsGiveSameBytes(t *testing.T) {
	blobs := []testBlob{{noise(1, 300<<10), false}, {prose(2, 9<<20), true}, {prose(3, 4<<20), true}, {prose(4, 700), true}}
	mtime := time.Unix(1700000000, 5)
	var first []byte
	for _, n := range []int{1, 2, 7} {
		file, _ := makeBundle(t, WriterOptions{Stub: strings.NewReader("stub"), ModTime: mtime, Concurrency: n}, blobs, nil)
		if first == nil {
			first = file
		}
		if !bytes.Equal(first, file) {
			t.Errorf("with concurrency %d the bytes differ", n)
		}
	}
}

func TestSecondAddOfABlobReadsNothing(t *testing.T) {
	b := testBlob{noise(1, 5000), false}
	w, err := NewWriter(io.Discard, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w.Has(b.digest()) {
		t.Error("Has before AddBlob")
	}
	ctx := context.Background()
	if err := w.AddBlob(ctx, b.digest(), 5000, false, bytes.NewReader(b.data)); err != nil {
		t.Fatal(err)
	}
	if !w.Has(b.digest()) {
		t.Error("not Has after AddBlob")
	}
	if err := w.AddBlob(ctx, b.digest(), 5000, true, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Errorf("second add: %v", err)
	}
	if err := w.AddBlob(ctx, b.digest(), 4999, false, nil); err == nil {
		t.Error("the same digest with another size was accepted")
	}
	s, err := w.Close()
	if err != nil || s.Blobs != 1 || s.BlobBytes != 5000 {
		t.Errorf("Close = %+v, %v", s, err)
	}
	if _, err := w.Close(); err == nil {
		t.Error("second Close succeeded")
	}
}

func TestWrongContentPoisonsTheWriter(t *testing.T) {
	small, big := noise(1, 1000), noise(2, 5<<20)
	failing := errors.New("connection reset")
	cases := map[string]struct {
		data []byte
		size int64
		r    io.Reader
		is   error
	}{
		"other bytes":        {small, 1000, bytes.NewReader(noise(3, 1000)), nil},
		"other bytes, large": {big, 5 << 20, bytes.NewReader(noise(3, 5<<20)), nil},
		"too short":          {small, 1000, bytes.NewReader(small[:999]), io.ErrUnexpectedEOF},
		"too short, large":   {big, 5 << 20, bytes.NewReader(big[:3<<20]), io.ErrUnexpectedEOF},
		"too long":           {small, 1000, bytes.NewReader(append(bytes.Clone(small), 0)), nil},
		"size too large":     {small, 1001, bytes.NewReader(small), io.ErrUnexpectedEOF},
		"failing reader":     {big, 5 << 20, io.MultiReader(bytes.NewReader(big[:2<<20]), iotest.ErrReader(failing)), failing},
	}
	for name, c := range cases {
		for _, compress := range []bool{false, true} {
			w, err := NewWriter(io.Discard, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := c.r.(io.Seeker); ok {
				s.Seek(0, io.SeekStart)
			} else if compress {
				c.r = iotest.ErrReader(failing)
			}
			err = w.AddBlob(context.Background(), digest.FromBytes(c.data), c.size, compress, c.r)
			if err == nil && name == "other bytes, large" && !compress {
				// It is hashed while the next are written, and told by a later call.
				for i := 0; err == nil && i < hashesAtOnce; i++ {
					next := noise(uint64(10+i), 1<<20)
					err = w.AddBlob(context.Background(), digest.FromBytes(next), 1<<20, false, bytes.NewReader(next))
				}
				var blob *BlobError
				if !errors.As(err, &blob) || blob.Digest != digest.FromBytes(c.data) {
					t.Errorf("%s: a later AddBlob = %v, want an error about the first", name, err)
				}
			}
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: AddBlob(compress %v) = %v", name, compress, err)
			}
			if got := w.AddBlob(context.Background(), digest.FromString("x"), 1, false, strings.NewReader("x")); got != err {
				t.Errorf("%s: the next AddBlob = %v", name, got)
			}
			if _, got := w.Close(); got != err {
				t.Errorf("%s: Close = %v", name, got)
			}
		}
	}
}

func TestCloseTellsOfALastBlobWithOtherBytes(t *testing.T) {
	w, err := NewWriter(io.Discard, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("what it should be")
	if err := w.AddBlob(t.Context(), d, 5<<20, false, bytes.NewReader(noise(1, 5<<20))); err != nil {
		t.Fatal(err)
	}
	_, err = w.Close()
	var blob *BlobError
	if !errors.As(err, &blob) || blob.Digest != d {
		t.Errorf("Close = %v, want an error about %s", err, d)
	}
}

func TestRefusedArgumentsLeaveTheWriterUsable(t *testing.T) {
	w, err := NewWriter(io.Discard, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, d := range []digest.Digest{"", "sha256:abc", "sha512:" + digest.Digest(strings.Repeat("a", 128)), "sha256:" + digest.Digest(strings.Repeat("G", 64))} {
		if err := w.AddBlob(ctx, d, 1, false, strings.NewReader("x")); err == nil {
			t.Errorf("AddBlob(%q) succeeded", d)
		}
	}
	good := Image{Name: "a/b:c", Digest: digest.FromString("x"), MediaType: "m", ManifestSize: 1, Kind: KindImage}
	bad := map[string]func(*Image){
		"no name": func(i *Image) { i.Name = "" }, "no kind": func(i *Image) { i.Kind = "" },
		"no media type": func(i *Image) { i.MediaType = "" }, "digest": func(i *Image) { i.Digest = "sha256:1" },
		"size": func(i *Image) { i.Size = -1 },
	}
	for name, change := range bad {
		i := good
		change(&i)
		if err := w.AddImage(i); err == nil {
			t.Errorf("AddImage with bad %s succeeded", name)
		}
	}
	if err := w.AddImage(good); err != nil {
		t.Fatal(err)
	}
	if err := w.AddImage(good); err == nil {
		t.Error("an image was added twice")
	}
	if err := w.AddBlob(ctx, digest.FromString("x"), 1, true, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestImageWithoutItsManifestFailsClose(t *testing.T) {
	for _, size := range []int64{1, 2} {
		w, err := NewWriter(io.Discard, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if size == 2 { // it is there, but of another size
			if err := w.AddBlob(context.Background(), digest.FromString("x"), 1, true, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}
		i := Image{Name: "a/b:c", Digest: digest.FromString("x"), MediaType: "m", ManifestSize: size, Kind: KindCluster}
		if err := w.AddImage(i); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err == nil {
			t.Error("Close succeeded")
		}
	}
}

func TestImagesKeepOrderAndEveryField(t *testing.T) {
	b := testBlob{[]byte("{}"), true}
	images := []Image{
		{
			Name: "z/rootfs:v1", Digest: b.digest(), MediaType: "m", ManifestSize: 2, Platforms: []string{"linux/amd64", "linux/arm64"},
			Size: 77, Kind: KindCluster, ClusterType: "rootfs",
		},
		{Name: "a/b@" + b.digest().String(), Digest: b.digest(), MediaType: "m", ManifestSize: 2, Platforms: []string{}, Kind: KindImage},
	}
	file, _ := makeBundle(t, WriterOptions{}, []testBlob{b}, images)
	if diff := cmp.Diff(images, openBytes(t, file).Images()); diff != "" {
		t.Errorf("images (-added +read):\n%s", diff)
	}
}

func TestCancelledWriteStops(t *testing.T) {
	big := noise(1, 40<<20)
	for _, compress := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		w, err := NewWriter(io.Discard, WriterOptions{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		r := &cancellingReader{bytes.NewReader(big), cancel}
		if err := w.AddBlob(ctx, digest.FromBytes(big), 40<<20, compress, r); !errors.Is(err, context.Canceled) {
			t.Errorf("AddBlob(compress %v) = %v", compress, err)
		}
		if r.Len() < 30<<20 {
			t.Errorf("AddBlob(compress %v) read on after the cancel: %d bytes left", compress, r.Len())
		}
	}
}

// cancellingReader cancels at the first read.
type cancellingReader struct {
	*bytes.Reader
	cancel context.CancelFunc
}

func (c *cancellingReader) Read(p []byte) (int, error) {
	c.cancel()
	return c.Reader.Read(p)
}

type fullDisk struct{ left int }

func (f *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func TestFullDiskIsReported(t *testing.T) {
	blobs := []testBlob{{noise(1, 3<<20), false}, {noise(2, 9<<20), true}}
	for _, space := range []int{0, 2 << 20, 6 << 20, 12<<20 + 500} {
		w, err := NewWriter(&fullDisk{space}, WriterOptions{})
		for _, b := range blobs {
			if err == nil {
				err = w.AddBlob(context.Background(), b.digest(), int64(len(b.data)), b.compress, bytes.NewReader(b.data))
			}
		}
		if err == nil {
			_, err = w.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("with %d bytes of space: %v", space, err)
		}
	}
}
