package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// chunkSize is how many bytes are sent at once.
const chunkSize = 256 << 10

// sendChunks sends a stream in chunks, so that its end differs from the end of a connection.
func sendChunks(w io.Writer, r io.Reader) error {
	buf := make([]byte, 4+chunkSize)
	for {
		n, err := fill(r, buf[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n))
			if _, err := w.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			_, err := w.Write(make([]byte, 4))
			return err
		}
		if err != nil {
			return err
		}
	}
}

// fill is io.ReadFull, but gives the reader's own errors: io.ErrUnexpectedEOF from that means damage, not the end.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// maxChunk bounds what one chunk of a stream announces.
const maxChunk = 1 << 20

// ReadChunks reads a stream in chunks, each after its length of 4 bytes (big endian), up to one of length 0. If the connection
// ends before that, the error is [ErrCut].
func ReadChunks(r *bufio.Reader) io.Reader { return &chunkReader{r: r} }

type chunkReader struct {
	r    *bufio.Reader
	left uint32
	end  bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.end {
		return 0, io.EOF
	}
	if c.left == 0 {
		var head [4]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return 0, cut(err)
		}
		c.left = binary.BigEndian.Uint32(head[:])
		if c.left > maxChunk {
			return 0, &Error{Code: CodeProtocol, Message: "the stream is not in chunks"}
		}
		if c.left == 0 {
			c.end = true
			return 0, io.EOF
		}
	}
	n, err := c.r.Read(p[:min(len(p), int(c.left))])
	c.left -= uint32(n)
	if err != nil && (c.left > 0 || n == 0) {
		return n, cut(err)
	}
	return n, nil
}

// cut is the error of a stream that ends before its last chunk: err if that says that the installer was silent for too long,
// else ErrCut.
func cut(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeCut {
		return err
	}
	return ErrCut
}
