package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var errShort = errors.New("the file ends within a frame")

// frameShape is what the headers of a frame say about it.
type frameShape struct {
	length    int64 // bytes in the file
	content   int64 // bytes it decodes to; 0 for a skippable frame
	skippable bool
}

// walkFrame follows the headers of the frame at off without decoding it. It returns errShort, with as much of the shape as is
// known, when the frame does not end before size, and another error when the bytes are no frame of ours.
func walkFrame(r io.ReaderAt, off, size int64) (frameShape, error) {
	var buf [18]byte
	head := buf[:min(int64(len(buf)), max(0, size-off))]
	if err := readFull(r, head, off); err != nil {
		return frameShape{}, err
	}
	if len(head) < 6 {
		return frameShape{}, errShort
	}
	switch binary.LittleEndian.Uint32(head) {
	case skippableMagic:
		if len(head) < skippableHeaderSize {
			return frameShape{}, errShort
		}
		s := frameShape{length: skippableHeaderSize + int64(binary.LittleEndian.Uint32(head[4:])), skippable: true}
		if s.length > size-off {
			return s, errShort
		}
		return s, nil
	case zstdMagic:
		return walkBlocks(r, off, size, head)
	}
	return frameShape{}, errors.New("no frame begins here")
}

func walkBlocks(r io.ReaderAt, off, size int64, head []byte) (frameShape, error) {
	descriptor := head[4]
	single := descriptor&0x20 != 0
	if descriptor&0x1B != 0 || !single && descriptor>>6 == 0 {
		return frameShape{}, errors.New("a frame of unknown kind")
	}
	pos := 5
	if !single {
		pos++
	}
	width := [4]int{1, 2, 4, 8}[descriptor>>6]
	if len(head) < pos+width {
		return frameShape{}, errShort
	}
	var fcs [8]byte
	copy(fcs[:], head[pos:pos+width])
	content := binary.LittleEndian.Uint64(fcs[:])
	if width == 2 {
		content += 256
	}
	if content > maxContent {
		return frameShape{}, fmt.Errorf("a frame of %d bytes", content)
	}
	s := frameShape{content: int64(content)}
	at := off + int64(pos+width)
	for last := false; !last; {
		var b [blockHeaderSize]byte
		if size-at < blockHeaderSize {
			return s, errShort
		}
		if err := readFull(r, b[:], at); err != nil {
			return s, err
		}
		v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = v&1 != 0
		n := int64(v >> 3)
		if n > blockSize {
			return s, fmt.Errorf("a block of %d bytes", n)
		}
		switch v >> 1 & 3 {
		case 1: // one byte, repeated n times
			n = 1
		case 3:
			return s, errors.New("a block of the reserved type")
		}
		at += blockHeaderSize + n
	}
	if descriptor&0x04 != 0 {
		at += 4
	}
	s.length = at - off
	if at > size {
		return s, errShort
	}
	return s, nil
}

// readFull fills p from off. io.ReaderAt may return io.EOF with a full read.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}
