// Package storesync sends a store the blobs and links it lacks.
//
// [Push] and [Receive] are the two ends of one byte stream. The receiver looks at its own disk and says what it lacks; the sender
// sends that and nothing else. A session cut anywhere leaves a valid store, and the next one goes on at the byte where a blob
// stopped. WIRE.md describes the stream. A [Fanout] makes pushes to several hosts one chain, so that the sender's link carries each
// blob once.
package storesync

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// WireVersion is the version of what travels between the two ends of a sync, as WIRE.md says it.
const WireVersion = 3

// Bounds of the wire, checked before anything is allocated. WIRE.md says what travels in which frame.
const (
	wireMagic = "sealbuild-sync\n"

	maxBlobs        = 1 << 20
	maxTags         = 1 << 18
	maxRepositories = 1 << 18

	maxData    = 256 << 10 // bytes of a blob in one frame
	maxControl = 64 << 10  // bytes of any other frame
	maxLinks   = 256 << 10 // bytes of a links frame, decompressed
	maxMessage = 2 << 10   // bytes of an error's text
	maxAddress = 255       // bytes of a host's address
)

type frameType byte

const (
	frameHello   frameType = iota + 1 // both: magic, version; the sender adds flags and the number of blobs
	frameWant                         // sender: digests and sizes
	frameMissing                      // receiver: which of them it lacks, from which byte
	frameAsked                        // receiver: the end of the missing ones
	frameBlob                         // sender: here comes blob i from byte n
	frameData                         // sender: bytes of it
	frameSent                         // sender: everything asked for was sent
	frameLinks                        // sender: repositories
	frameEnd                          // sender: that was all
	frameDone                         // receiver: everything is durable
	frameError                        // both: why this side gave up
	frameRelay                        // receiver: how others reach what it has
	framePeers                        // sender: where to take blobs from
	frameAlive                        // both: this side is at work, or waits for others; it has nothing to say yet
	frameTaken                        // receiver: how many bytes it has taken from relays by now
)

// ErrProtocol is wrapped by every complaint about what the other end of a session sent.
var ErrProtocol = errors.New("not a valid sync stream")

// PeerError is the reason the other end gave for giving up.
type PeerError struct{ Message string }

func (e *PeerError) Error() string { return "the other end reports: " + e.Message }

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// frameWriter writes whole frames; signs of life may come from another goroutine.
type frameWriter struct {
	mu sync.Mutex
	w  *bufio.Writer
	n  atomic.Int64 // bytes written
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (f *frameWriter) write(t frameType, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var head [1 + binary.MaxVarintLen32]byte
	head[0] = byte(t)
	n := 1 + binary.PutUvarint(head[1:], uint64(len(payload)))
	f.n.Add(int64(n + len(payload)))
	if _, err := f.w.Write(head[:n]); err != nil {
		return err
	}
	_, err := f.w.Write(payload)
	return err
}

func (f *frameWriter) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.w.Flush()
}

// failSoon tells the other end why this one gives up. If nobody reads there, it does not wait for long.
func (f *frameWriter) failSoon(err error) {
	text := err.Error()
	text = text[:min(len(text), maxMessage)]
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if f.write(frameError, []byte(text)) == nil {
			_ = f.flush()
		}
	}()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	}
}

type frameReader struct {
	r *bufio.Reader
	n int64 // bytes read
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// header reads the type and the length of the next frame that is no sign of life. The end of the stream, even between frames, is
// io.ErrUnexpectedEOF, since every caller expects a frame.
func (f *frameReader) header() (frameType, int, error) {
	for {
		if t, n, err := f.oneHeader(); t != frameAlive || err != nil {
			return t, n, err
		}
	}
}

func (f *frameReader) oneHeader() (frameType, int, error) {
	b, err := f.r.ReadByte()
	if err != nil {
		return 0, 0, noEOF(err)
	}
	t := frameType(b)
	if t < frameHello || t > frameTaken {
		return 0, 0, protocolError("frame of unknown type %d", b)
	}
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return 0, 0, noEOF(err)
	}
	limit := uint64(maxControl)
	if t == frameData {
		limit = maxData
	}
	if t == frameAlive {
		limit = 0
	}
	if n > limit {
		return 0, 0, protocolError("frame of %d bytes, more than %d", n, limit)
	}
	f.n += int64(1 + uvarintSize(n))
	return t, int(n), nil
}

// peek returns the type of the next frame that is no sign of life.
func (f *frameReader) peek() (frameType, error) {
	for {
		b, err := f.r.Peek(1)
		if err != nil {
			return 0, noEOF(err)
		}
		if frameType(b[0]) != frameAlive {
			return frameType(b[0]), nil
		}
		if _, _, err := f.oneHeader(); err != nil {
			return 0, err
		}
	}
}

// frame reads a whole frame, and turns the other end's error into one of this end.
func (f *frameReader) frame() (frameType, []byte, error) {
	t, n, err := f.header()
	if err != nil {
		return 0, nil, err
	}
	payload, err := f.payload(n)
	if err != nil {
		return 0, nil, err
	}
	if t == frameError {
		return 0, nil, peerError(payload)
	}
	return t, payload, nil
}

func (f *frameReader) payload(n int) ([]byte, error) {
	payload := make([]byte, n)
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return nil, noEOF(err)
	}
	f.n += int64(n)
	return payload, nil
}

// expect reads the one type of frame that may come now.
func (f *frameReader) expect(want frameType) ([]byte, error) {
	t, payload, err := f.frame()
	if err != nil {
		return nil, err
	}
	if t != want {
		return nil, protocolError("frame of type %d where %d was expected", t, want)
	}
	return payload, nil
}

// peerError makes the other end's text printable: it comes from another machine and ends up on a terminal.
func peerError(text []byte) error {
	clean := []rune(string(text[:min(len(text), maxMessage)]))
	for i, c := range clean {
		if !unicode.IsPrint(c) {
			clean[i] = ' '
		}
	}
	return &PeerError{Message: string(clean)}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func uvarintSize(n uint64) int {
	var buf [binary.MaxVarintLen64]byte
	return binary.PutUvarint(buf[:], n)
}

// decoder takes a payload apart; the first thing that is missing or out of range stays its error.
type decoder struct {
	data []byte
	err  error
}

func (d *decoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.data)
	if n <= 0 || v > limit {
		d.err = protocolError("number missing or above %d", limit)
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.data)) {
		d.err = protocolError("%d bytes where %d are left", n, len(d.data))
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

// more says whether there is something left to decode.
func (d *decoder) more() bool { return d.err == nil && len(d.data) > 0 }

// end returns the first error, or one if something is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.data) > 0 {
		d.err = protocolError("%d bytes too many", len(d.data))
	}
	return d.err
}
