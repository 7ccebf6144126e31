package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// boundarySizes are the lengths at which a block, a chunk, a frame or a tar
// block begins or ends.
func boundarySizes() []int {
	sizes := []int{0, 1, 2}
	for _, n := range []int{512, 1024, 128 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20} {
		sizes = append(sizes, n-1, n, n+1)
	}
	return append(sizes, 512+128<<10, 4<<20+128<<10, 9<<20+77)
}

func randomBlobs(r *rand.Rand, n int) []testBlob {
	sizes := boundarySizes()
	blobs := make([]testBlob, 0, n)
	seen := map[digest.Digest]bool{}
	for len(blobs) < n {
		size := sizes[r.IntN(len(sizes))]
		b := testBlob{prose(r.Uint64(), size), r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			b.data = noise(r.Uint64(), size)
		}
		if !seen[b.digest()] {
			seen[b.digest()] = true
			blobs = append(blobs, b)
		}
	}
	return blobs
}

func TestEveryBlobComesBackInEveryWay(t *testing.T) {
	rounds := 6
	if testing.Short() || detector.On { // all of them without the detector (make unit)
		rounds = 1
	}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		blobs := randomBlobs(r, 7)
		if seed == 0 { // once with every boundary, stored and compressed
			blobs = nil
			for i, n := range boundarySizes() {
				blobs = append(blobs, testBlob{noise(uint64(i), n), false})
				if n > 0 && n < 5<<20 {
					blobs = append(blobs, testBlob{prose(uint64(i), n), true})
				}
			}
			blobs = uniqueBlobs(blobs)
		}
		file, summary := makeBundle(t, WriterOptions{Stub: bytes.NewReader(noise(seed, r.IntN(5000)))}, blobs, nil)
		rd := openBytes(t, file)
		if rd.IndexDigest() != summary.IndexDigest || rd.PayloadOffset() != summary.PayloadOffset {
			t.Fatalf("seed %d: reader and summary differ", seed)
		}
		for i, b := range blobs {
			checkBlob(t, rd, file, b, r)
			if info := rd.Blobs()[i]; info.Digest != b.digest() || info.Size != int64(len(b.data)) || info.Stored != (!b.compress || len(b.data) == 0) {
				t.Fatalf("seed %d: blob %d is listed as %+v", seed, i, info)
			}
		}
		checkArchive(t, file[rd.PayloadOffset():], blobs)
		mustVerify(t, rd)
	}
}

func uniqueBlobs(blobs []testBlob) []testBlob {
	seen := map[digest.Digest]bool{}
	out := blobs[:0]
	for _, b := range blobs {
		if !seen[b.digest()] {
			seen[b.digest()] = true
			out = append(out, b)
		}
	}
	return out
}

func checkBlob(t *testing.T, rd *Reader, file []byte, b testBlob, rnd *rand.Rand) {
	t.Helper()
	d, size := b.digest(), int64(len(b.data))
	info, ok := rd.Stat(d)
	if !ok || info.Size != size {
		t.Fatalf("Stat = %+v, %v; want %d bytes", info, ok, size)
	}
	got, err := rd.ReadBlob(d, size)
	if err != nil || !bytes.Equal(got, b.data) {
		t.Fatalf("ReadBlob of %d bytes: %d bytes, %v", size, len(got), err)
	}
	if size > 0 {
		if _, err := rd.ReadBlob(d, size-1); err == nil {
			t.Fatal("ReadBlob returned more than its limit")
		}
	}
	rc, err := rd.OpenBlob(d)
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if _, err := io.Copy(&copied, rc); err != nil || !bytes.Equal(copied.Bytes(), b.data) {
		t.Fatalf("io.Copy of %d bytes: %d bytes, %v", size, copied.Len(), err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rc.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("Read after Close = %v", err)
	}
	at, err := rd.BlobAt(d)
	if err != nil || at.Size() != size {
		t.Fatalf("BlobAt: %v", err)
	}
	reads := 40
	if detector.On {
		reads = 6
	}
	for range reads {
		off := rnd.Int64N(size + 2)
		p := make([]byte, rnd.IntN(300<<10))
		n, err := at.ReadAt(p, off)
		want := b.data[min(off, size):min(off+int64(len(p)), size)]
		if !bytes.Equal(p[:n], want) {
			t.Fatalf("ReadAt(%d bytes at %d of %d) = %d bytes, not the content", len(p), off, size, n)
		}
		if n < len(p) && err != io.EOF || n == len(p) && err != nil && err != io.EOF {
			t.Fatalf("ReadAt(%d bytes at %d of %d) = %d, %v", len(p), off, size, n, err)
		}
	}
	frames, n, err := rd.OpenZstd(d)
	if err != nil || n != info.StoredSize {
		t.Fatalf("OpenZstd: %d bytes, %v; want %d", n, err, info.StoredSize)
	}
	raw, err := io.ReadAll(frames)
	if err != nil || !bytes.Equal(raw, file[info.Offset:info.Offset+info.StoredSize]) {
		t.Fatalf("OpenZstd yields not the bytes of the file: %v", err)
	}
	dec, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	if got, err := io.ReadAll(dec); err != nil || !bytes.Equal(got, b.data) {
		t.Fatalf("the frames of %d bytes decode to %d bytes, %v", size, len(got), err)
	}
}

// checkArchive reads the payload as the strangers it is for would.
func checkArchive(t *testing.T, payload []byte, blobs []testBlob) {
	t.Helper()
	dec, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	tr := tar.NewReader(dec)
	var names []string
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o644 || h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeReg || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("header of %s: %+v", h.Name, h)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(h.Name); len(base) == 64 && digest.FromBytes(content).Encoded() != base {
			t.Errorf("%s has other content", h.Name)
		}
		names = append(names, h.Name)
	}
	want := []string{"oci-layout"}
	for _, b := range blobs {
		want = append(want, blobPath(b.digest()))
	}
	if diff := cmp.Diff(append(want, "index.json"), names); diff != "" {
		t.Errorf("archive members (-want +got):\n%s", diff)
	}
	if rest, err := io.ReadAll(dec); err != nil || len(bytes.Trim(rest, "\x00")) > 0 {
		t.Errorf("behind the archive: %d bytes, %v", len(rest), err)
	}
}

func TestOpenFileReadsWhatIsOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealinstall")
	file, _ := smallBundle(t, "#!stub\n")
	if err := os.WriteFile(path, file, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stub, err := io.ReadAll(f.Stub())
	if err != nil || string(stub) != "#!stub\n" {
		t.Errorf("Stub = %q, %v", stub, err)
	}
	if d, platform := f.StubInfo(); d != digest.FromString("#!stub\n") || platform != "linux/amd64" {
		t.Errorf("StubInfo = %s, %s", d, platform)
	}
	images := f.Images()
	if len(images) != 1 || images[0].Name != "registry.example/tool:v1" || f.FormatVersion() != 1 || f.Size() != int64(len(file)) {
		t.Errorf("images %v, version %d, size %d", images, f.FormatVersion(), f.Size())
	}
	d := f.Blobs()[0].Digest
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadBlob(d, 1<<20); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
	if _, err := f.OpenBlob(digest.FromString("not there")); !errors.Is(err, ErrNoBlob) {
		t.Errorf("OpenBlob of a foreign digest: %v", err)
	}
}

func TestReadsAtOnceDoNotDisturbEachOther(t *testing.T) {
	blobs := []testBlob{{noise(1, 3<<20), false}, {prose(2, 9<<20), true}, {prose(3, 100), true}}
	file, _ := makeBundle(t, WriterOptions{}, blobs, nil)
	rd := openBytes(t, file)
	var wg sync.WaitGroup
	shared := make([]*BlobReader, len(blobs))
	for i, b := range blobs {
		shared[i], _ = rd.BlobAt(b.digest())
	}
	reads := 10
	if detector.On { // a few are enough for it
		reads = 3
	}
	for g := range uint64(6) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(g, 3))
			for i, b := range blobs {
				if got, err := rd.ReadBlob(b.digest(), 1<<30); err != nil || !bytes.Equal(got, b.data) {
					t.Errorf("ReadBlob: %v", err)
				}
				for range reads {
					p := make([]byte, 1+r.IntN(len(b.data)))
					off := r.IntN(len(b.data) - len(p) + 1)
					if _, err := shared[i].ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, b.data[off:off+len(p)]) {
						t.Errorf("ReadAt: %v", err)
					}
				}
			}
			if damage, err := rd.Verify(context.Background(), nil); err != nil || len(damage) > 0 {
				t.Errorf("Verify: %v, %v", damage, err)
			}
		})
	}
	wg.Wait()
}
