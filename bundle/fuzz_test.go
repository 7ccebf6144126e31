package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func seedVectors(f *testing.F, add func([]byte)) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join(vectorDir, "*.bundle"))
	if err != nil || len(names) == 0 {
		f.Fatalf("there are no seeds in %s: %v", vectorDir, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(b)
	}
}

// use does all a reader can with a bundle that opened.
func use(t *testing.T, r *Reader) {
	r.Images()
	for _, i := range r.Images() {
		r.Reach(i)
	}
	r.Describe()
	Diff(r, r)
	for _, name := range r.Documents() {
		r.Document(name)
	}
	for _, platform := range r.Platforms() {
		if stub, err := r.OpenStub(platform); err == nil {
			io.Copy(io.Discard, stub)
		}
	}
	for _, info := range r.Blobs() {
		if info.Offset < 0 || info.StoredSize < 0 || info.Offset+info.StoredSize > r.Size() {
			t.Fatalf("a blob outside of the file: %+v", info)
		}
		rc, err := r.OpenBlob(info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, rc)
		if err == nil && n != info.Size {
			t.Fatalf("%d bytes of a blob of %d without an error", n, info.Size)
		}
		rc.Close()
		at, err := r.BlobAt(info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		at.ReadAt(make([]byte, 100), info.Size/2)
		frames, _, err := r.OpenZstd(info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, frames)
	}
	if _, err := r.Verify(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

func FuzzOpen(f *testing.F) {
	seedVectors(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			use(t, r)
			return
		}
		if errors.As(err, new(*TruncatedError)) || errors.As(err, new(*VersionError)) || errors.As(err, new(*CorruptError)) || errors.Is(err, ErrNotBundle) {
			return
		}
		t.Fatalf("an error of no kind: %v", err)
	})
}

// FuzzIndex puts any index behind a good archive, with digests that match, so
// that nothing but the checks of the index stands between it and the reader.
func FuzzIndex(f *testing.F) {
	file, _ := smallBundle(f, "stub\n")
	good := openBytes(f, file)
	plain, err := encodeIndex(good.index)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	good.index.Expected = []Expected{{digest.FromString("elsewhere"), 7}}
	good.index.Stubs = []indexPlatform{{"linux/arm64", good.index.Entries[1].Digest}}
	good.index.Trust = []string{testSigner(f, 1).PublicKey()}
	good.index.Images[0].Referrers = []v1.Descriptor{{Digest: good.index.Images[0].Digest, Size: good.index.Images[0].ManifestSize}}
	if plain, err = encodeIndex(good.index); err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add([]byte(`{"modTime":0,"stub":{},"entries":[{},{}],"images":[]}`))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		f.Fatal(err)
	}
	archive := file[:good.start+good.trailer.indexStart]
	f.Fuzz(func(t *testing.T, plain []byte) {
		data := enc.EncodeAll(plain, nil)
		tr := trailer{
			indexStart: good.trailer.indexStart, indexData: int64(len(data)), indexJSON: int64(len(plain)),
			indexSum: sha256.Sum256(data), version: FormatVersion,
		}
		tr.payloadSize = tr.indexStart + sectionHeaderSize + tr.indexData + trailerSize
		b := append(appendSectionHeader(bytes.Clone(archive), indexTag, len(data)), data...)
		b = append(b, tr.marshal()...)
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			use(t, r)
		} else if !errors.As(err, new(*CorruptError)) {
			t.Fatalf("a bad index gives %v", err)
		}
	})
}

func FuzzTrailer(f *testing.F) {
	file, _ := smallBundle(f, "stub\n")
	f.Add(file[len(file)-trailerSize:], int64(len(file)))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if len(b) > 20 { // else the checksum lets nothing through
			b = bytes.Clone(b)
			tail := b[len(b)-20:]
			copy(tail[4:], magic)
			c := checksum(b[:len(b)-20])
			tail[0], tail[1], tail[2], tail[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
		tr, err := parseTrailer(b)
		if err != nil {
			return
		}
		if !bytes.Equal(tr.marshal(), b) {
			t.Fatalf("%x was read as %+v, which is written as %x", b, tr, tr.marshal())
		}
		if tr.check(size) == nil && (tr.payloadSize > size || tr.indexStart+tr.indexData > size || tr.indexData > maxIndexData) {
			t.Fatalf("%+v passes for a file of %d bytes", tr, size)
		}
	})
}

// FuzzWalk follows frames from the front, as for a file without its tail.
func FuzzWalk(f *testing.F) {
	seedVectors(f, func(b []byte) {
		if start, _, err := findHead(bytes.NewReader(b), int64(len(b))); err == nil {
			f.Add(b[start+headSize:])
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &walker{r: bytes.NewReader(b), size: int64(len(b))}
		err := w.walk()
		cut, damaged := new(TruncatedError), new(CorruptError)
		switch {
		case errors.As(err, &cut):
			if cut.Start < 0 || cut.Start > cut.Size {
				t.Fatalf("%+v", cut)
			}
		case errors.As(err, &damaged):
			if damaged.Offset < 0 || damaged.Length < 0 || damaged.Offset+damaged.Length > int64(len(b)) {
				t.Fatalf("%+v in %d bytes", damaged, len(b))
			}
		default:
			t.Fatalf("walk = %v", err)
		}
	})
}
