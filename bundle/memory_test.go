package bundle

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/test/detector"
)

const (
	streamSize = 512 << 20
	memLimit   = 96 << 20 // of the heap; a whole sealbuild has 128 MiB
	memEnv     = "BUNDLE_MEMORY_TEST_DIR"
)

// stream is an endless blob: 1 MiB of noise again and again, or zeros.
type stream struct {
	pattern []byte
	pos     int
}

func newStream(random bool) *stream {
	if random {
		return &stream{pattern: noise(5, 1<<20)}
	}
	return &stream{pattern: make([]byte, 1<<20)}
}

func (s *stream) Read(p []byte) (int, error) {
	n := copy(p, s.pattern[s.pos:])
	s.pos = (s.pos + n) % len(s.pattern)
	return n, nil
}

// TestMemoryDoesNotGrowWithTheBundle runs in a process of its own, because the
// heap other tests needed would count.
func TestMemoryDoesNotGrowWithTheBundle(t *testing.T) {
	if testing.Short() || detector.On {
		t.Skip("writes and reads 1.5 GiB, and would measure the detector's memory")
	}
	if dir := os.Getenv(memEnv); dir != "" {
		writeAndReadStreams(t, dir)
		var m runtime.MemStats
		runtime.ReadMemStats(&m) // HeapSys never shrinks: it is the peak
		t.Logf("HeapSys=%d", m.HeapSys)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryDoesNotGrowWithTheBundle$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), memEnv+"="+t.TempDir(), "GOGC=100")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	_, after, ok := strings.Cut(string(out), "HeapSys=")
	if !ok {
		t.Fatalf("the child says nothing of its heap:\n%s", out)
	}
	peak, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak heap %d MiB for three blobs of %d MiB", peak>>20, streamSize>>20)
	if peak > memLimit {
		t.Errorf("peak heap %d MiB is above %d MiB", peak>>20, memLimit>>20)
	}
}

func writeAndReadStreams(t *testing.T, dir string) {
	f, err := os.Create(filepath.Join(dir, "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, WriterOptions{Concurrency: 2})
	if err != nil {
		t.Fatal(err)
	}
	var blobs []digest.Digest
	for i, c := range []struct{ random, compress bool }{{true, false}, {false, true}, {true, true}} {
		size := int64(streamSize + i) // three blobs, not twice the same
		h := sha256.New()
		if _, err := io.Copy(h, io.LimitReader(newStream(c.random), size)); err != nil {
			t.Fatal(err)
		}
		d := sumDigest(h.Sum(nil))
		if err := w.AddBlob(context.Background(), d, size, c.compress, io.LimitReader(newStream(c.random), size)); err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, d)
	}
	s, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("after writing %d MiB", m.HeapSys>>20)
	r, err := Open(f, s.Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range blobs {
		rc, err := r.OpenBlob(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			t.Fatal(err)
		}
		rc.Close()
	}
	mustVerify(t, r)
}

func TestABlockCostsNoAllocation(t *testing.T) {
	if detector.On {
		t.Skip("it empties pools now and then (make unit runs this without it)")
	}
	allocs := func(f func()) float64 { return testing.AllocsPerRun(3, f) }
	write := func(size int) func() {
		b := testBlob{noise(1, size), false}
		d := b.digest()
		return func() {
			w, err := NewWriter(io.Discard, WriterOptions{Concurrency: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.AddBlob(context.Background(), d, int64(size), false, strings.NewReader(string(b.data))); err != nil {
				t.Fatal(err)
			}
		}
	}
	// 32 MiB are 256 blocks. Each unit of 4 MiB may cost a few.
	if small, large := allocs(write(2<<20)), allocs(write(34<<20)); large > small+64 {
		t.Errorf("writing 2 MiB takes %v allocations, 34 MiB %v", small, large)
	}
	read := func(size int) func() {
		b := testBlob{noise(1, size), false}
		file, _ := makeBundle(t, WriterOptions{}, []testBlob{b}, nil)
		r := openBytes(t, file)
		d := b.digest()
		return func() {
			rc, err := r.OpenBlob(d)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err != nil {
				t.Fatal(err)
			}
			rc.Close()
		}
	}
	if small, large := allocs(read(2<<20)), allocs(read(34<<20)); large > small+20 {
		t.Errorf("reading 2 MiB takes %v allocations, 34 MiB %v", small, large)
	}
	b := testBlob{noise(1, 1<<20), false}
	file, _ := makeBundle(t, WriterOptions{}, []testBlob{b}, nil)
	at, err := openBytes(t, file).BlobAt(b.digest())
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 300<<10)
	if n := allocs(func() {
		if _, err := at.ReadAt(p, 77); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a ranged read takes %v allocations", n)
	}
}
