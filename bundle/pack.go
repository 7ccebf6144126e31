package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// packer compresses frames on several CPUs. One slot more than there are
// encoders lets the next frame be read while all of them work.
type packer struct {
	encoder *zstd.Encoder
	slots   []packSlot
}

type packSlot struct {
	in, out []byte
	done    chan struct{} // one token when out is there
	busy    bool
}

func newPacker(n int) (*packer, error) {
	// A single segment's window is its content, at most packSize, and makes
	// the encoder state the content's size in every frame.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(n), zstd.WithSingleSegment(true), zstd.WithWindowSize(packSize),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make a zstd encoder: %w", err)
	}
	p := &packer{encoder: enc, slots: make([]packSlot, n+1)}
	for i := range p.slots {
		p.slots[i].done = make(chan struct{}, 1)
	}
	return p, nil
}

// pack writes the content as independent frames and records them in e.
func (w *Writer) pack(ctx context.Context, e *entry, r io.Reader) (digest.Digest, error) {
	content, frames := sha256.New(), sha256.New()
	slots := w.packer.slots
	// flush writes what the slot holds, once it is compressed.
	flush := func(s *packSlot) error {
		if !s.busy {
			return nil
		}
		<-s.done
		s.busy = false
		e.Frames = append(e.Frames, int64(len(s.out)))
		frames.Write(s.out)
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
		n := int(min(left, packSize))
		if err := s.fill(r, n); err != nil {
			return "", readError(e.Size, err)
		}
		left -= int64(n)
		s.busy = true
		go func() {
			s.out = w.packer.encoder.EncodeAll(s.in, s.out[:0])
			s.done <- struct{}{}
		}()
		content.Write(s.in) // only read by the encoder, so both may at once
	}
	for range slots {
		if err := flush(&slots[next]); err != nil {
			return "", err
		}
		next = (next + 1) % len(slots)
	}
	e.FramesDigest = sumDigest(frames.Sum(nil))
	return sumDigest(content.Sum(nil)), nil
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
