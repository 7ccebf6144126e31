package bundle

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
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
