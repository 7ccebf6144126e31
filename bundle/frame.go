package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	zstdMagic      = 0xFD2FB528
	skippableMagic = 0x184D2A5B // one of the sixteen magics a zstd decoder skips

	skippableHeaderSize = 8
	rawHeaderSize       = 14 // magic 4, descriptor 1, window 1, content size 8
	blockHeaderSize     = 3
	blockSize           = 128 << 10 // the largest block zstd allows

	// unitSize is the content that is checked at once: as a compressed frame of its own, or from one state of the hash to the next
	// in stored content. Small enough that a read in the middle checks and decodes little, large enough that ratio and index suffer
	// little.
	unitSize = 4 << 20
	// maxPackedFrame bounds one compressed frame: input that does not compress
	// costs 3 bytes per block and the frame's header and checksum.
	maxPackedFrame = unitSize + unitSize/blockSize*blockHeaderSize + 32

	// chunkBlocks blocks are read, hashed and written at once. They fit in a
	// CPU's second-level cache, and a unit is a whole number of chunks.
	chunkBlocks = 4
	chunkSize   = chunkBlocks * (blockHeaderSize + blockSize)
)

// rawHeader is a frame header before its content size: 8-byte content size, no checksum, no dictionary, window 128 KiB.
var rawHeader = [6]byte{0x28, 0xB5, 0x2F, 0xFD, 0xC0, 0x38}

// blocksOf is the number of blocks of a stored frame; an empty one has one.
func blocksOf(size int64) int64 {
	return max(1, (size+blockSize-1)/blockSize)
}

// rawFrameSize is the length in the file of size bytes stored in one frame.
func rawFrameSize(size int64) int64 {
	return rawHeaderSize + blocksOf(size)*blockHeaderSize + size
}

// rawOffset is where byte i of the content of a stored frame lies in it.
func rawOffset(i int64) int64 {
	return rawHeaderSize + (i/blockSize+1)*blockHeaderSize + i
}

func putRawHeader(dst []byte, size int64) {
	copy(dst, rawHeader[:])
	binary.LittleEndian.PutUint64(dst[len(rawHeader):], uint64(size))
}

// blockHeader is the 3-byte little-endian header of a raw block of n bytes.
func blockHeader(n int64, last bool) [blockHeaderSize]byte {
	v := uint32(n) << 3
	if last {
		v |= 1
	}
	return [blockHeaderSize]byte{byte(v), byte(v >> 8), byte(v >> 16)}
}

// appendRawFrame stores content, at most one block, as a frame of its own.
func appendRawFrame(dst, content []byte) []byte {
	var header [rawHeaderSize]byte
	putRawHeader(header[:], int64(len(content)))
	block := blockHeader(int64(len(content)), true)
	dst = append(dst, header[:]...)
	dst = append(dst, block[:]...)
	return append(dst, content...)
}

// appendSkippableHeader begins a skippable frame of n content bytes.
func appendSkippableHeader(dst []byte, n int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, skippableMagic)
	return binary.LittleEndian.AppendUint32(dst, uint32(n))
}

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

const (
	tarBlock  = 512
	tarEnd    = 2 * tarBlock
	ustarMax  = 1<<33 - 1 // eleven octal digits
	nameLimit = 100
	// maxContent bounds the size of one entry (4 EiB) so that sums of a few sizes never overflow.
	maxContent = 1 << 62
	maxGap     = tarBlock - 1 + 3*tarBlock
)

// tarHeader is what differs between the headers of two entries: everything
// else is fixed, so that a header can be computed again and compared.
type tarHeader struct {
	name  string
	size  int64
	mtime int64 // seconds since 1970, within 0 and ustarMax
}

// padding is the zero bytes a tar archive has behind an entry of size bytes.
func padding(size int64) int {
	return int(-size & (tarBlock - 1))
}

// gapSize is the length of gap without making it; name does not matter.
func gapSize(prev, size int64) int64 {
	if size > ustarMax {
		return int64(padding(prev)) + 3*tarBlock
	}
	return int64(padding(prev)) + tarBlock
}

// gap is what lies in the archive between the content of an entry of prev bytes and the content of the entry that h heads.
func gap(prev int64, h tarHeader) []byte {
	out := make([]byte, padding(prev), gapSize(prev, h.size))
	if h.size > ustarMax {
		record := paxSize(h.size)
		out = append(out, ustar("PaxHeaders/"+baseName(h.name), int64(len(record)), h.mtime, 'x')...)
		out = append(out, record...)
		out = append(out, make([]byte, padding(int64(len(record))))...)
		return append(out, ustar(h.name, 0, h.mtime, '0')...)
	}
	return append(out, ustar(h.name, h.size, h.mtime, '0')...)
}

// endGap is what lies behind the last entry.
func endGap(prev int64) []byte {
	return make([]byte, padding(prev)+tarEnd)
}

func baseName(name string) string {
	return name[bytes.LastIndexByte([]byte(name), '/')+1:]
}

// paxSize is a PAX record; its own length, digits included, stands in front.
func paxSize(size int64) []byte {
	value := " size=" + strconv.FormatInt(size, 10) + "\n"
	n := len(value)
	for n != len(value)+len(strconv.Itoa(n)) {
		n = len(value) + len(strconv.Itoa(n))
	}
	return []byte(strconv.Itoa(n) + value)
}

func ustar(name string, size, mtime int64, kind byte) []byte {
	b := make([]byte, tarBlock)
	copy(b[0:], name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], fmt.Sprintf("%011o\x00", mtime))
	copy(b[148:], "        ") // the sum is taken with spaces in its own field
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	copy(b[329:], "0000000\x00")
	copy(b[337:], "0000000\x00")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// parseGap reads a gap back: the header in it, or end for the last one. A gap
// that is not exactly what this package writes is an error.
func parseGap(prev int64, content []byte) (h tarHeader, end bool, err error) {
	pad := padding(prev)
	if bytes.Equal(content, endGap(prev)) {
		return tarHeader{}, true, nil
	}
	if len(content) != pad+tarBlock && len(content) != pad+3*tarBlock {
		return tarHeader{}, false, fmt.Errorf("a tar header of %d bytes", len(content))
	}
	main := content[len(content)-tarBlock:]
	name, _, _ := bytes.Cut(main[:nameLimit], []byte{0})
	h.name = string(name)
	if h.mtime, err = strconv.ParseInt(string(main[136:147]), 8, 64); err != nil {
		return tarHeader{}, false, errors.New("a tar header without a time")
	}
	size, base := main[124:135], 8
	if len(content) == pad+3*tarBlock {
		record, _, _ := bytes.Cut(content[pad+tarBlock:pad+2*tarBlock], []byte{'\n'})
		_, size, _ = bytes.Cut(record, []byte{'='})
		base = 10
	}
	if h.size, err = strconv.ParseInt(string(size), base, 64); err != nil || h.size < 0 || h.size > maxContent {
		return tarHeader{}, false, errors.New("a tar header without a size")
	}
	if h.mtime < 0 || !bytes.Equal(content, gap(prev, h)) {
		return tarHeader{}, false, errors.New("a tar header that was not written by sealbuild")
	}
	return h, false, nil
}
