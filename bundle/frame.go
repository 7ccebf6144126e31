package bundle

import "encoding/binary"

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
