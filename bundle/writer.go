package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeBuffer gathers small writes; larger ones go straight to the file.
const writeBuffer = 64 << 10

// Writer writes one bundle in one pass. It is for one goroutine. After any error but a refused argument every call fails with that
// error: what lies in the file then is not a bundle and never becomes one.
type Writer struct {
	raw   io.Writer
	out   *bufio.Writer // before raw
	sign  func([]byte) ([]byte, error)
	pos   int64 // bytes written, stub included
	start int64 // where the payload begins
	index index
	have  map[digest.Digest]int64 // decoded size
	names map[string]bool

	documents map[string]bool
	expected  map[digest.Digest]bool

	prev    int64       // size of the entry before
	chunks  chan []byte // buffers that are free
	hashing []*hashing  // in the order they were added
	packer  *packer
	err     error
}

var errClosed = errors.New("the bundle writer is closed")

// NewWriter writes the stub and the head to w. The caller syncs and closes w after Close.
func NewWriter(w io.Writer, o WriterOptions) (*Writer, error) {
	var mtime int64
	if !o.ModTime.IsZero() {
		mtime = o.ModTime.Unix()
	}
	if mtime < 0 || mtime > ustarMax {
		return nil, fmt.Errorf("write bundle: the time %v has no place in a tar archive", o.ModTime)
	}
	n := o.Concurrency
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p, err := newPacker(n)
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	bw := &Writer{
		raw:   w,
		out:   bufio.NewWriterSize(w, writeBuffer),
		sign:  o.Sign,
		have:  map[digest.Digest]int64{},
		names: map[string]bool{},

		documents: map[string]bool{},
		expected:  map[digest.Digest]bool{},
		packer:    p,
	}
	bw.index.ModTime = mtime
	bw.index.PartSize = o.PartSize
	bw.index.Images = []Image{}
	for _, key := range o.TrustKeys {
		if _, err := ParseTrust("trusted key", []byte(key)); err != nil {
			return nil, fmt.Errorf("write bundle: %w", err)
		}
		bw.index.Trust = append(bw.index.Trust, key)
	}
	if err := bw.writeStub(o.Stub, o.StubPlatform); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	layout := ociLayout()
	if err := bw.addEntry(context.Background(), v1.ImageLayoutFile, sum(layout), int64(len(layout)), false, bytes.NewReader(layout)); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	for _, s := range o.Stubs {
		if err := bw.AddBlob(context.Background(), s.Digest, s.Size, true, s.Content); err != nil {
			return nil, fmt.Errorf("write bundle: stub for %s: %w", s.Platform, err)
		}
		bw.index.Stubs = append(bw.index.Stubs, indexPlatform{s.Platform, s.Digest})
	}
	return bw, nil
}

func sum(b []byte) digest.Digest {
	s := sha256.Sum256(b)
	return sumDigest(s[:])
}

func (w *Writer) writeStub(stub io.Reader, platform string) error {
	h := sha256.New()
	if stub != nil {
		n, err := io.Copy(io.MultiWriter(w.out, h), io.LimitReader(stub, MaxStubSize+1))
		if err != nil {
			return fmt.Errorf("copy the stub: %w", err)
		}
		if n > MaxStubSize {
			return fmt.Errorf("the stub is larger than %d bytes", MaxStubSize)
		}
		w.pos, w.start = n, n
	}
	if p := w.index.PartSize; p < 0 || p > 0 && p < w.start+headSize {
		return fmt.Errorf("parts of %d bytes have no room for the installer, which has %d", p, w.start+headSize)
	}
	hd := head{version: FormatVersion, stubSize: w.start, partSize: w.index.PartSize}
	h.Sum(hd.stubSum[:0])
	w.index.Stub = indexStub{Size: w.start, Digest: sumDigest(hd.stubSum[:]), Platform: platform}
	return w.write(hd.marshal())
}

func (w *Writer) write(b []byte) error {
	to := io.Writer(w.out)
	if len(b) >= writeBuffer {
		if err := w.out.Flush(); err != nil {
			return err
		}
		to = w.raw
	}
	n, err := to.Write(b)
	w.pos += int64(n)
	return err
}

// StubDigest is of the stub, which NewWriter wrote.
func (w *Writer) StubDigest() digest.Digest { return w.index.Stub.Digest }

// Has tells whether the blob was added.
func (w *Writer) Has(d digest.Digest) bool {
	_, ok := w.have[d]
	return ok
}

// AddBlob copies exactly size bytes from r and fails unless r ends there and they hash to d. Adding a digest again does nothing,
// and r is not read. With compress the blob is compressed, else it is stored as it is, which costs a copy and a hash: right for
// layers that are compressed already. A large one of those is still hashed when AddBlob returns; that it was not what d says is
// then the error of the call after the next, or of Close: a *BlobError either way.
func (w *Writer) AddBlob(ctx context.Context, d digest.Digest, size int64, compress bool, r io.Reader) error {
	if there, err := w.admit(d, size); there || err != nil {
		return err
	}
	if err := w.addEntry(ctx, blobPath(d), d, size, compress, r); err != nil {
		return w.poison(&BlobError{d, err})
	}
	w.have[d] = size
	return nil
}

// admit tells whether a blob that is to be added is there already.
func (w *Writer) admit(d digest.Digest, size int64) (there bool, err error) {
	if w.err != nil {
		return false, w.err
	}
	if err := w.settle(hashesAtOnce - 1); err != nil {
		return false, err
	}
	if err := checkDigest(d); err != nil {
		return false, fmt.Errorf("add blob: %w", err)
	}
	if have, ok := w.have[d]; ok {
		if have != size {
			return true, fmt.Errorf("add blob %s: it was added with %d bytes, not %d", d, have, size)
		}
		return true, nil
	}
	if size < 0 || size > maxContent || w.expected[d] {
		return false, fmt.Errorf("add blob %s: a size of %d, or it was said to be at the site", d, size)
	}
	return false, nil
}

func (w *Writer) poison(err error) error {
	w.err = err
	return err
}

func (w *Writer) addEntry(ctx context.Context, path string, d digest.Digest, size int64, compress bool, r io.Reader) error {
	return w.addContent(path, d, size, r, func(e *entry) (digest.Digest, error) {
		if compress && size > 0 { // nothing compresses to nothing, which is no frame
			return w.pack(ctx, e, r)
		}
		return w.store(ctx, e, r)
	})
}

// addContent writes an entry whose frames write makes out of r.
func (w *Writer) addContent(path string, d digest.Digest, size int64, r io.Reader, write func(*entry) (digest.Digest, error)) error {
	frame := appendRawFrame(nil, gap(w.prev, tarHeader{name: path, size: size, mtime: w.index.ModTime}))
	if err := w.write(frame); err != nil {
		return err
	}
	e := entry{Path: path, Digest: d, Size: size, Offset: w.pos - w.start}
	got, err := write(&e)
	if err != nil {
		return err
	}
	if got != d {
		return fmt.Errorf("its %d bytes hash to %s", size, got)
	}
	if err := expectEnd(r, size); err != nil {
		return err
	}
	w.index.Entries = append(w.index.Entries, e)
	w.prev = size
	return nil
}

func expectEnd(r io.Reader, size int64) error {
	var one [1]byte
	for range 100 { // a reader may return nothing without an error
		n, err := r.Read(one[:])
		if n > 0 {
			return fmt.Errorf("it is longer than its %d bytes", size)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read behind its %d bytes: %w", size, err)
		}
	}
	return io.ErrNoProgress
}

// WriterOptions say how a bundle is written; the zero value is a bare payload.
type WriterOptions struct {
	// Stub is the executable in front, at most MaxStubSize bytes; nil for none.
	Stub io.Reader
	// StubPlatform is what the stub runs on, as "linux/amd64".
	StubPlatform string
	// Stubs are the executables for hosts of other platforms than the first.
	Stubs []Stub
	// PartSize in bytes is set when w spreads over several files (see Parts); it
	// has to hold the stub and the head. 0 means one file.
	PartSize int64
	// TrustKeys are lines as in an allowed_signers file of OpenSSH: the keys that must have signed what this bundle's stub opens.
	TrustKeys []string
	// Sign, which may be nil, gets the index as it lies in the file and returns
	// an armored OpenSSH signature of it in SignatureNamespace.
	Sign func(index []byte) ([]byte, error)
	// ModTime of every file in the archive, to the second: SOURCE_DATE_EPOCH.
	// Zero means 1970-01-01, so that the default is reproducible.
	ModTime time.Time
	// Concurrency is the number of frames compressed at once, at most 6, each taking about 16 MiB; 0 means one per CPU. It does not
	// change the bytes written.
	Concurrency int
}

// Stub is an executable for one platform.
type Stub struct {
	Platform string // as "linux/arm64"
	Digest   digest.Digest
	Size     int64 // bytes
	Content  io.Reader
}

// Summary is what a Writer made.
type Summary struct {
	IndexDigest   digest.Digest // what a signature has to cover
	StubDigest    digest.Digest
	Size          int64 // bytes of the whole file
	PayloadOffset int64 // bytes before the payload: the stub's size
	Blobs         int
	BlobBytes     int64 // decoded
	StoredBytes   int64 // of the blobs' frames in the file
}
