package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// maxPackers bounds the memory of a Writer on machines with many CPUs.
const maxPackers = 6

// packer compresses frames on several CPUs. One slot more than there are
// encoders lets the next frame be read while all of them work.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	slots   []packSlot
}

type packSlot struct {
	in, out []byte
	back    []byte // out decoded again
	sum     hashSum
	err     error
	done    chan struct{} // one token when out is there
	busy    bool
}

func newPacker(n int) (*packer, error) {
	n = min(n, maxPackers)
	// A single segment's window is its content, at most unitSize, and makes the encoder state the content's size in every frame.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(n), zstd.WithSingleSegment(true), zstd.WithWindowSize(unitSize),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make a zstd encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("make a zstd decoder: %w", err)
	}
	p := &packer{encoder: enc, decoder: dec, slots: make([]packSlot, n+1)}
	for i := range p.slots {
		p.slots[i].done = make(chan struct{}, 1)
	}
	return p, nil
}

// pack writes the content as independent frames and records them in e.
func (w *Writer) pack(ctx context.Context, e *entry, r io.Reader) (digest.Digest, error) {
	content := sha256.New()
	slots := w.packer.slots
	// flush writes what the slot holds, once it is compressed.
	flush := func(s *packSlot) error {
		if !s.busy {
			return nil
		}
		<-s.done
		s.busy = false
		if s.err != nil {
			return s.err
		}
		e.Frames = append(e.Frames, int64(len(s.out)))
		e.FrameSums = append(e.FrameSums, s.sum)
		return w.write(s.out)
	}
	defer func() { // after an error the encoders still hold their slots
		for i := range slots {
			if slots[i].busy {
				<-slots[i].done
				slots[i].busy = false
			}
		}
	}()
	next := 0
	for left := e.Size; left > 0; next = (next + 1) % len(slots) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		s := &slots[next]
		if err := flush(s); err != nil {
			return "", err
		}
		n := int(min(left, unitSize))
		if err := s.fill(r, n); err != nil {
			return "", readError(e.Size, err)
		}
		left -= int64(n)
		s.busy = true
		go s.compress(w.packer)
		content.Write(s.in) // only read by the encoder, so both may at once
	}
	for range slots {
		if err := flush(&slots[next]); err != nil {
			return "", err
		}
		next = (next + 1) % len(slots)
	}
	return sumDigest(content.Sum(nil)), nil
}

// compress makes the frame and decodes it again. A fault of the encoder would else be found at the site, where nobody can mend it,
// since Verify compares frames with their digests only.
func (s *packSlot) compress(p *packer) {
	s.out = p.encoder.EncodeAll(s.in, s.out[:0])
	s.sum = sha256.Sum256(s.out)
	if cap(s.back) < len(s.in) {
		s.back = make([]byte, 0, len(s.in))
	}
	s.back, s.err = p.decoder.DecodeAll(s.out, s.back[:0:len(s.in)])
	if s.err == nil && !bytes.Equal(s.back, s.in) {
		s.err = errors.New("it is not what was compressed")
	}
	if s.err != nil {
		s.err = fmt.Errorf("decode a frame just compressed: %w", s.err)
	}
	s.done <- struct{}{}
}

func (s *packSlot) fill(r io.Reader, n int) error {
	if cap(s.in) < n {
		s.in = make([]byte, n)
	}
	s.in = s.in[:n]
	// Room for the worst case: the encoder would else grow it step by step.
	if room := n + n/blockSize*blockHeaderSize + 64; cap(s.out) < room {
		s.out = make([]byte, 0, room)
	}
	_, err := io.ReadFull(r, s.in)
	return err
}
