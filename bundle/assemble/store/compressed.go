package store

import (
	"bufio"
	"bytes"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// How compressed files begin.
var (
	gzipped   = []byte{0x1f, 0x8b}
	zstandard = []byte{0x28, 0xb5, 0x2f, 0xfd}
	xz        = []byte{0xfd, '7', 'z', 'X', 'Z'}
	bzipped   = []byte("BZh")
)

// Packed tells by its first bytes that a file is compressed.
func Packed(head []byte) bool {
	return slices.ContainsFunc([][]byte{gzipped, zstandard, xz, bzipped}, func(magic []byte) bool { return bytes.HasPrefix(head, magic) })
}

// Unpacked reads a layer, whatever it is compressed with.
func Unpacked(f io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(f, 1<<20)
	head, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(head, gzipped):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, zstandard):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}
