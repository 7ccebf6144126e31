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

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const writeBuffer = 1 << 20

// WriterOptions say how a bundle is written; the zero value is a bare payload.
type WriterOptions struct {
	// Stub is the executable in front, at most MaxStubSize bytes; nil for none.
	Stub io.Reader
	// StubPlatform is what the stub runs on, as "linux/amd64".
	StubPlatform string
	// ModTime of every file in the archive, to the second: SOURCE_DATE_EPOCH.
	// Zero means 1970-01-01, so that the default is reproducible.
	ModTime time.Time
	// Concurrency is the number of frames compressed at once, each taking
	// about 12 MiB; 0 means one per CPU. It does not change the bytes written.
	Concurrency int
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

// Writer writes one bundle in one pass. It is for one goroutine. After any
// error but a refused argument every call fails with that error: what lies in
// the file then is not a bundle and never becomes one.
type Writer struct {
	out    *bufio.Writer
	pos    int64 // bytes written, stub included
	start  int64 // where the payload begins
	index  index
	have   map[digest.Digest]int64 // decoded size
	names  map[string]bool
	prev   int64 // size of the entry before
	stored storedBuffers
	packer *packer
	err    error
}

var errClosed = errors.New("the bundle writer is closed")

// NewWriter writes the stub and the head to w. The caller syncs and closes w
// after Close.
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
		out:    bufio.NewWriterSize(w, writeBuffer),
		have:   map[digest.Digest]int64{},
		names:  map[string]bool{},
		packer: p,
	}
	bw.index.ModTime = mtime
	bw.index.Images = []Image{}
	if err := bw.writeStub(o.Stub, o.StubPlatform); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	layout := ociLayout()
	if err := bw.addEntry(context.Background(), v1.ImageLayoutFile, sum(layout), int64(len(layout)), false, bytes.NewReader(layout)); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
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
	hd := head{version: formatVersion, stubSize: w.start}
	h.Sum(hd.stubSum[:0])
	w.index.Stub = indexStub{Size: w.start, Digest: sumDigest(hd.stubSum[:]), Platform: platform}
	return w.write(hd.marshal())
}

func (w *Writer) write(b []byte) error {
	n, err := w.out.Write(b)
	w.pos += int64(n)
	return err
}

// Has tells whether the blob was added.
func (w *Writer) Has(d digest.Digest) bool {
	_, ok := w.have[d]
	return ok
}

// AddBlob copies exactly size bytes from r and fails unless r ends there and
// they hash to d. Adding a digest again does nothing, and r is not read. With
// compress the blob is compressed, else it is stored as it is, which costs a
// copy and a hash: right for layers that are compressed already.
func (w *Writer) AddBlob(ctx context.Context, d digest.Digest, size int64, compress bool, r io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if err := checkDigest(d); err != nil {
		return fmt.Errorf("add blob: %w", err)
	}
	if have, ok := w.have[d]; ok {
		if have != size {
			return fmt.Errorf("add blob %s: it was added with %d bytes, not %d", d, have, size)
		}
		return nil
	}
	if size < 0 || size > maxContent {
		return fmt.Errorf("add blob %s: a size of %d", d, size)
	}
	if err := w.addEntry(ctx, blobPath(d), d, size, compress, r); err != nil {
		return w.poison(fmt.Errorf("add blob %s: %w", d, err))
	}
	w.have[d] = size
	return nil
}

func (w *Writer) poison(err error) error {
	w.err = err
	return err
}

func (w *Writer) addEntry(ctx context.Context, path string, d digest.Digest, size int64, compress bool, r io.Reader) error {
	frame := appendRawFrame(nil, gap(w.prev, tarHeader{name: path, size: size, mtime: w.index.ModTime}))
	if err := w.write(frame); err != nil {
		return err
	}
	e := entry{Path: path, Digest: d, Size: size, Offset: w.pos - w.start}
	var got digest.Digest
	var err error
	if compress && size > 0 { // nothing compresses to nothing, which is no frame
		got, err = w.pack(ctx, &e, r)
	} else {
		got, err = w.store(ctx, size, r)
	}
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

// AddImage names an image, in the order that Reader.Images and index.json
// keep. Its manifest must have been added as a blob when Close is called.
func (w *Writer) AddImage(i Image) error {
	if w.err != nil {
		return w.err
	}
	if err := i.check(); err != nil {
		return fmt.Errorf("add image: %w", err)
	}
	if w.names[i.Name] {
		return fmt.Errorf("add image: %s was added before", i.Name)
	}
	w.names[i.Name] = true
	w.index.Images = append(w.index.Images, i)
	return nil
}

// Close writes index.json, the end of the archive, the index and the trailer.
// It does not close the underlying writer.
func (w *Writer) Close() (Summary, error) {
	if w.err != nil {
		return Summary{}, w.err
	}
	s, err := w.finish()
	if err != nil {
		return Summary{}, w.poison(fmt.Errorf("finish bundle: %w", err))
	}
	w.err = errClosed
	w.packer, w.stored = nil, storedBuffers{} // tens of MiB that nobody needs any more
	return s, nil
}

func (w *Writer) finish() (Summary, error) {
	oci, err := ociIndex(w.index.Images)
	if err != nil {
		return Summary{}, err
	}
	if err := w.addEntry(context.Background(), v1.ImageIndexFile, sum(oci), int64(len(oci)), true, bytes.NewReader(oci)); err != nil {
		return Summary{}, err
	}
	if err := w.index.checkImages(); err != nil {
		return Summary{}, err
	}
	if err := w.write(appendRawFrame(nil, endGap(w.prev))); err != nil {
		return Summary{}, err
	}
	t, err := w.writeIndex()
	if err != nil {
		return Summary{}, err
	}
	if err := w.write(t.marshal()); err != nil {
		return Summary{}, err
	}
	if err := w.out.Flush(); err != nil {
		return Summary{}, err
	}
	s := Summary{IndexDigest: sumDigest(t.indexSum[:]), StubDigest: w.index.Stub.Digest, Size: w.pos, PayloadOffset: w.start}
	for _, e := range w.index.Entries[1 : len(w.index.Entries)-1] {
		s.Blobs++
		s.BlobBytes += e.Size
		s.StoredBytes += e.length()
	}
	return s, nil
}

func (w *Writer) writeIndex() (trailer, error) {
	plain, err := encodeIndex(&w.index)
	if err != nil {
		return trailer{}, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(packSize))
	if err != nil {
		return trailer{}, err
	}
	data := enc.EncodeAll(plain, nil)
	if len(data) > maxIndexData {
		return trailer{}, fmt.Errorf("an index of %d bytes: too many blobs for one bundle", len(data))
	}
	t := trailer{
		indexStart: w.pos - w.start, indexData: int64(len(data)), indexJSON: int64(len(plain)),
		indexSum: sha256.Sum256(data), version: formatVersion,
	}
	t.payloadSize = t.indexStart + sectionHeaderSize + t.indexData + trailerSize
	return t, w.write(append(appendSectionHeader(nil, indexTag, len(data)), data...))
}
