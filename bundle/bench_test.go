package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

const benchSize = 64 << 20

func benchWrite(b *testing.B, data []byte, compress bool) {
	d := testBlob{data, compress}.digest()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := NewWriter(io.Discard, WriterOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := w.AddBlob(context.Background(), d, int64(len(data)), compress, bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteStored(b *testing.B)     { benchWrite(b, noise(1, benchSize), false) }
func BenchmarkWriteCompressed(b *testing.B) { benchWrite(b, prose(1, benchSize), true) }

func benchFile(b *testing.B, blobs ...testBlob) *Reader {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "bundle"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	s := writeBundle(b, f, WriterOptions{}, blobs, nil)
	r, err := Open(f, s.Size)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return r
}

func benchRead(b *testing.B, blob testBlob) {
	r := benchFile(b, blob)
	b.SetBytes(int64(len(blob.data)))
	for b.Loop() {
		rc, err := r.OpenBlob(blob.digest())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			b.Fatal(err)
		}
		rc.Close()
	}
}

func BenchmarkReadStored(b *testing.B)     { benchRead(b, testBlob{noise(1, benchSize), false}) }
func BenchmarkReadCompressed(b *testing.B) { benchRead(b, testBlob{prose(1, benchSize), true}) }

func BenchmarkReadAtStored(b *testing.B) {
	blob := testBlob{noise(1, benchSize), false}
	at, err := benchFile(b, blob).BlobAt(blob.digest())
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 32<<10)
	b.SetBytes(benchSize)
	for b.Loop() {
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.NewSectionReader(at, 0, at.Size()), buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r := benchFile(b, testBlob{noise(1, benchSize/4), false}, testBlob{noise(2, benchSize/4), false},
		testBlob{prose(3, benchSize/4), true}, testBlob{prose(4, benchSize/4), true})
	b.SetBytes(r.Size())
	for b.Loop() {
		mustVerify(b, r)
	}
}

// One blob alone keeps all CPUs busy, too. BenchmarkSHA256 is the yardstick:
// what one CPU hashes.
func BenchmarkVerifyOneBlob(b *testing.B) {
	r := benchFile(b, testBlob{noise(1, 4*benchSize), false})
	b.SetBytes(r.Size())
	for b.Loop() {
		mustVerify(b, r)
	}
}

func BenchmarkVerifyOneCompressedBlob(b *testing.B) {
	r := benchFile(b, testBlob{prose(1, 4*benchSize), true})
	b.SetBytes(r.Size())
	for b.Loop() {
		mustVerify(b, r)
	}
}

func BenchmarkSHA256(b *testing.B) {
	data := noise(1, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		sha256.Sum256(data)
	}
}

// BenchmarkCopyFile is what writing a stored blob is measured by: the same
// bytes from file to file, as tar does it.
func BenchmarkCopyFile(b *testing.B) {
	in, out := benchFiles(b)
	b.SetBytes(4 * benchSize)
	buf := make([]byte, chunkSize)
	for b.Loop() {
		rewind(b, in, out)
		if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteFile(b *testing.B) {
	in, out := benchFiles(b)
	d, err := digest.FromReader(in)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 * benchSize)
	for b.Loop() {
		rewind(b, in, out)
		w, err := NewWriter(out, WriterOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := w.AddBlob(context.Background(), d, 4*benchSize, false, in); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchFiles(b *testing.B) (in, out *os.File) {
	b.Helper()
	dir := b.TempDir()
	in, err := os.Create(filepath.Join(dir, "in"))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := in.Write(noise(1, 4*benchSize)); err != nil {
		b.Fatal(err)
	}
	out, err = os.Create(filepath.Join(dir, "out"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); out.Close() })
	rewind(b, in, out)
	return in, out
}

func rewind(b *testing.B, in, out *os.File) {
	b.Helper()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	if err := out.Truncate(0); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkOpenTenThousandBlobs(b *testing.B) {
	blobs := make([]testBlob, 10_000)
	for i := range blobs {
		blobs[i] = testBlob{noise(uint64(i), 100), false}
	}
	r := benchFile(b, blobs...)
	for b.Loop() {
		if _, err := Open(r.r, r.size); err != nil {
			b.Fatal(err)
		}
	}
}
