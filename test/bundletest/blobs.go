// Package bundletest makes bundles for tests of what reads them.
package bundletest

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
)

// Of is a bundle of some blobs, every other of them compressed, and what damages one where it lies in the file.
func Of(t testing.TB, blobs map[digest.Digest][]byte) (r *bundle.Reader, damage func(digest.Digest)) {
	t.Helper()
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for d, content := range blobs {
		n++
		if err := w.AddBlob(t.Context(), d, int64(len(content)), n%2 == 0, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = bundle.Open(bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil {
		t.Fatal(err)
	}
	return r, func(d digest.Digest) {
		info, _ := r.Stat(d)
		file.Bytes()[info.Offset+info.StoredSize/2] ^= 1
	}
}
