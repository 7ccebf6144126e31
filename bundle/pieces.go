package bundle

import (
	"fmt"
	"io"
)

// storedPieces yields the blocks of a stored frame, several read at once.
type storedPieces struct {
	r     *Reader
	e     *entry
	pos   int64 // content bytes read from the file
	buf   []byte
	chunk []byte // blocks read and not yet yielded
	began bool
}

func (s *storedPieces) next() ([]byte, error) {
	if len(s.chunk) == 0 {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	n := min(len(s.chunk), blockHeaderSize+blockSize)
	piece := s.chunk[blockHeaderSize:n]
	s.chunk = s.chunk[n:]
	return piece, nil
}

// load reads the next chunk and checks the headers in it.
func (s *storedPieces) load() error {
	if s.began && s.pos == s.e.Size {
		return io.EOF
	}
	if s.buf == nil {
		s.buf = s.r.getChunk(s.e.length())
	}
	if !s.began {
		if err := s.r.checkRawHeader(s.e, s.buf); err != nil {
			return err
		}
		s.began = true
	}
	n := min(s.e.Size-s.pos, chunkBlocks*blockSize)
	chunk, err := s.r.readChunk(s.e, s.pos, n, s.buf)
	if err != nil {
		return err
	}
	s.pos += n
	s.chunk = chunk
	return nil
}

func (s *storedPieces) release() {
	s.r.putChunk(s.buf)
	s.buf, s.chunk = nil, nil
}

// getChunk returns a buffer for reading n bytes chunk by chunk. Manifests and
// configs, which are many and small, do not take a large one for that.
func (r *Reader) getChunk(n int64) []byte {
	if n < chunkSize/4 {
		return make([]byte, n)
	}
	if b, ok := r.chunks.Get().(*[chunkSize]byte); ok {
		return b[:]
	}
	return new([chunkSize]byte)[:]
}

func (r *Reader) putChunk(b []byte) {
	if len(b) == chunkSize {
		r.chunks.Put((*[chunkSize]byte)(b))
	}
}

// packedPieces yields the decoded frames of a compressed entry.
type packedPieces struct {
	r   *Reader
	e   *entry
	i   int
	off int64 // of frame i in the entry
	buf *frameBuffers
}

// frameBuffers hold one frame as it lies in the file, and decoded. They grow
// to the largest frame they held, and are kept for the next blob.
type frameBuffers struct {
	raw, data []byte
}

func (r *Reader) getFrames() *frameBuffers {
	if b, ok := r.frames.Get().(*frameBuffers); ok {
		return b
	}
	return new(frameBuffers)
}

func (p *packedPieces) next() ([]byte, error) {
	if p.i == len(p.e.Frames) {
		return nil, io.EOF
	}
	if p.buf == nil {
		p.buf = p.r.getFrames()
	}
	off := p.r.start + p.e.Offset + p.off
	if err := p.r.readFrame(p.e, p.i, off, p.buf); err != nil {
		return nil, err
	}
	if err := p.r.decode(p.e, p.i, off, p.buf); err != nil {
		return nil, err
	}
	p.off += p.e.Frames[p.i]
	p.i++
	return p.buf.data, nil
}

func (p *packedPieces) release() {
	if p.buf != nil {
		p.r.frames.Put(p.buf)
		p.buf = nil
	}
}

// readFrame reads frame i, which lies at off, into b.raw.
func (r *Reader) readFrame(e *entry, i int, off int64, b *frameBuffers) error {
	n := e.Frames[i]
	if int64(cap(b.raw)) < n {
		b.raw = make([]byte, n)
	}
	b.raw = b.raw[:n]
	if err := readFull(r.r, b.raw, off); err != nil {
		return &CorruptError{e.Path, off, n, err}
	}
	return nil
}

// decode decompresses frame i, which lies at off and is in b.raw, into b.data.
// The decoder never writes more than the frame may hold.
func (r *Reader) decode(e *entry, i int, off int64, b *frameBuffers) error {
	want := e.unitContent(int64(i))
	if int64(cap(b.data)) < want {
		b.data = make([]byte, 0, want)
	}
	out, err := r.decoder.DecodeAll(b.raw, b.data[:0:want])
	if err == nil && int64(len(out)) != want {
		err = fmt.Errorf("it decodes to %d bytes, not %d", len(out), want)
	}
	if err != nil {
		return &CorruptError{e.Path, off, int64(len(b.raw)), fmt.Errorf("frame %d of %d: %w", i+1, len(e.Frames), err)}
	}
	b.data = out
	return nil
}
