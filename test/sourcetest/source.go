// Package sourcetest is for tests of what a registry is fed with: the suite that every [catalog.Source] passes, and a source in
// memory.
package sourcetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Blobs is a source in memory.
type Blobs map[digest.Digest][]byte

// Add puts a blob into the source.
func (b Blobs) Add(content []byte) digest.Digest {
	d := digest.FromBytes(content)
	b[d] = content
	return d
}

// Stat implements [catalog.Source].
func (b Blobs) Stat(d digest.Digest) (int64, bool) {
	content, ok := b[d]
	return int64(len(content)), ok
}

// OpenBlob implements [catalog.Source].
func (b Blobs) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	at, err := b.BlobAt(d)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(at, 0, at.Size())), nil
}

// BlobAt implements [catalog.Source].
func (b Blobs) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	content, ok := b[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
	}
	return bytes.NewReader(content), nil
}

// Kept is a source under test.
type Kept struct {
	catalog.Source
	Damage func(d digest.Digest) // changes a byte of a blob where the source has it
}

// Source runs the suite. keep makes a source that has these blobs and no others.
func Source(t *testing.T, keep func(t *testing.T, blobs Blobs) Kept) {
	blobs := Blobs{}
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 1, 4096, 1<<20 - 3, 9<<20 + 17} {
		content := make([]byte, size)
		random.Read(content[:size/2]) // so that what compresses does
		blobs.Add(content)
	}
	whole := keep(t, blobs)
	t.Run("what is there", func(t *testing.T) { has(t, whole, blobs) })
	t.Run("what is not there", func(t *testing.T) { lacks(t, whole) })
	t.Run("from the beginning", func(t *testing.T) { readsAll(t, whole, blobs) })
	t.Run("at any offset", func(t *testing.T) { readsParts(t, whole, blobs) })
	t.Run("at once", func(t *testing.T) { readsAtOnce(t, whole, blobs) })
	t.Run("damaged", func(t *testing.T) { readsDamage(t, keep(t, blobs), blobs) })
}

// partial tells that a source cannot be read but from the beginning.
func partial(s catalog.Source, d digest.Digest) bool {
	_, err := s.BlobAt(d)
	return errors.Is(err, errors.ErrUnsupported)
}

func closeIt(t *testing.T, r any) {
	t.Helper()
	if c, ok := r.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func has(t *testing.T, s catalog.Source, blobs Blobs) {
	for d, content := range blobs {
		if size, ok := s.Stat(d); !ok || size != int64(len(content)) && !partial(s, d) {
			t.Errorf("blob of %d bytes: %d, %v", len(content), size, ok)
		}
	}
}

func lacks(t *testing.T, s catalog.Source) {
	for _, d := range []digest.Digest{digest.FromString("none"), "", "sha256:", "sha256:../../../etc/hostname", "sha512:" + digest.Digest(digest.FromString("none").Encoded()), "x"} {
		if size, ok := s.Stat(d); ok || size != 0 {
			t.Errorf("%q is there, of %d bytes", d, size)
		}
		if r, err := s.OpenBlob(d); err == nil {
			t.Errorf("%q was opened", d)
			r.Close()
		}
		if r, err := s.BlobAt(d); err == nil {
			t.Errorf("%q was opened to read anywhere", d)
			closeIt(t, r)
		}
	}
}

func readsAll(t *testing.T, s catalog.Source, blobs Blobs) {
	for d, content := range blobs {
		r, err := s.OpenBlob(d)
		if err != nil {
			t.Errorf("%d bytes: %v", len(content), err)
			continue
		}
		got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 10)))
		if err != nil || !bytes.Equal(got, content[:min(10, len(content))]) {
			t.Errorf("%d bytes, one after another: %x, %v", len(content), got, err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, content[len(got):]) {
			t.Errorf("%d bytes: %d came, %v", len(content), len(got)+len(rest), err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d bytes: behind the end %d, %v", len(content), n, err)
		}
		closeIt(t, r)
		if r, err = s.OpenBlob(d); err == nil {
			err = r.Close() // before the end
		}
		if err != nil {
			t.Errorf("%d bytes: %v", len(content), err)
		}
	}
}

func readsParts(t *testing.T, s catalog.Source, blobs Blobs) {
	for d, content := range blobs {
		if partial(s, d) {
			t.Skip("this source is read from the beginning only")
		}
		at, err := s.BlobAt(d)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(len(content))
		if at.Size() != size {
			t.Errorf("%d bytes where %d are", at.Size(), size)
		}
		// Backwards, too, and over each border that content may be kept by.
		for _, from := range []int64{size / 2, 0, size - 1, 4095, 1 << 20, 4<<20 - 5, 8<<20 - 5, 3, size - 10, size} {
			for _, length := range []int64{0, 1, 10, 64 << 10, 5 << 20, size - from} {
				if from < 0 || from > size || length < 0 {
					continue
				}
				want := content[from:min(size, from+length)]
				buf := make([]byte, length)
				n, err := at.ReadAt(buf, from)
				if !bytes.Equal(buf[:n], want) {
					t.Errorf("%d of %d bytes from %d on: %d came, which are others or not all", length, size, from, n)
				}
				switch {
				case n < len(buf) && err != io.EOF, n == len(buf) && from+length < size && err != nil, err != nil && err != io.EOF:
					t.Errorf("%d of %d bytes from %d on: %d, %v", length, size, from, n, err)
				}
			}
		}
		for _, from := range []int64{size, size + 1, 1 << 40} {
			if n, err := at.ReadAt(make([]byte, 4), from); n != 0 || err != io.EOF {
				t.Errorf("%d bytes, behind their end: %d, %v", size, n, err)
			}
		}
		if n, err := at.ReadAt(make([]byte, 4), -1); n != 0 || err == nil || err == io.EOF {
			t.Errorf("%d bytes, before their beginning: %d, %v", size, n, err)
		}
		closeIt(t, at)
	}
}

func readsAtOnce(t *testing.T, s catalog.Source, blobs Blobs) {
	var all sync.WaitGroup
	for d, content := range blobs {
		var shared catalog.BlobReader
		if !partial(s, d) {
			var err error
			if shared, err = s.BlobAt(d); err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, shared)
		}
		for n := range 4 {
			all.Go(func() {
				if size, ok := s.Stat(d); !ok {
					t.Errorf("%d bytes are not there", size)
				}
				r, err := s.OpenBlob(d)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes: %d came, %v", len(content), len(got), err)
				}
				step := 1 + len(content)/(n+3)
				for from := 0; shared != nil && from < len(content); from += step {
					want := content[from:min(len(content), from+step)]
					got := make([]byte, len(want))
					if _, err := shared.ReadAt(got, int64(from)); err != nil && err != io.EOF || !bytes.Equal(got, want) {
						t.Errorf("%d bytes from %d on: %v", len(want), from, err)
					}
				}
			})
		}
	}
	all.Wait()
}

// readsDamage: a source need not look at what it gives out, but one that says it does gives out nothing wrong. What is read of any
// by who compares digests is an error.
func readsDamage(t *testing.T, s Kept, blobs Blobs) {
	for d, content := range blobs {
		if len(content) == 0 {
			continue
		}
		s.Damage(d)
		r, err := s.OpenBlob(d)
		if err != nil {
			continue // found before the first byte
		}
		h := digest.SHA256.Hash()
		n, err := io.Copy(h, r)
		closeIt(t, r)
		if err == nil && digest.NewDigest(digest.SHA256, h) == d {
			t.Errorf("%d bytes, one of them damaged: they are read as if they were not", n)
		}
		at, err := s.BlobAt(d)
		if err != nil {
			continue
		}
		defer closeIt(t, at)
		if v, ok := at.(interface{ Verified() bool }); !ok || !v.Verified() {
			continue
		}
		wrong := false
		for from := int64(0); from < at.Size(); from += 1 << 20 {
			buf := make([]byte, 1<<20)
			n, err := at.ReadAt(buf, from)
			wrong = wrong || err != nil && err != io.EOF
			if !bytes.Equal(buf[:n], content[from:min(int64(len(content)), from+int64(n))]) {
				t.Errorf("%d bytes from %d on are damaged, and are said to be verified", n, from)
			}
		}
		if !wrong {
			t.Errorf("%d bytes, one of them damaged: all of them were read", len(content))
		}
	}
}
