package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	formatVersion = 1
	knownFeatures = 0

	magic       = "sealbuild bundle"
	headSize    = 76
	trailerSize = 96
	// tailSize bytes at the end of the file have the same meaning in every
	// version: features, version, trailer length, checksum, magic.
	tailSize       = 32
	maxTrailerSize = 4096

	sectionTagSize = 8
	indexTag       = "SEALINDX"

	// MaxStubSize bounds the executable in front of the payload, and so how far
	// Open looks for the head of a file whose trailer is missing.
	MaxStubSize = 256 << 20
	// The index is read whole: 200 000 blobs take about 5 MiB of the first.
	maxIndexData = 32 << 20
	maxIndexJSON = 96 << 20
)

// head begins the payload. Its layout is the same in every version.
type head struct {
	version, features uint32
	stubSize          int64
	stubSum           [32]byte
}

func (h head) marshal() []byte {
	b := appendSkippableHeader(make([]byte, 0, headSize), headSize-skippableHeaderSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, h.version)
	b = binary.LittleEndian.AppendUint32(b, h.features)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.stubSize))
	b = append(b, h.stubSum[:]...)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// headStart is how every head begins.
func headStart() []byte { return head{}.marshal()[:skippableHeaderSize+len(magic)] }

func parseHead(b []byte) (head, error) {
	if len(b) != headSize || !bytes.Equal(b[:24], headStart()) {
		return head{}, errors.New("the magic is not there")
	}
	if binary.LittleEndian.Uint32(b[72:]) != checksum(b[:72]) {
		return head{}, errors.New("its checksum does not match")
	}
	h := head{
		version:  binary.LittleEndian.Uint32(b[24:]),
		features: binary.LittleEndian.Uint32(b[28:]),
		stubSize: int64(binary.LittleEndian.Uint64(b[32:])),
	}
	copy(h.stubSum[:], b[40:72])
	if h.stubSize < 0 || h.stubSize > MaxStubSize {
		return head{}, fmt.Errorf("a stub of %d bytes", uint64(h.stubSize))
	}
	return h, nil
}

// trailer ends the file and says where the index lies.
type trailer struct {
	payloadSize int64 // from the first byte of the head to the end of the file
	indexStart  int64 // of the index's skippable frame, from the head
	indexData   int64 // bytes of compressed index
	indexJSON   int64 // bytes it decodes to
	indexSum    [32]byte
	features    uint32
	version     uint32
}

func (t trailer) marshal() []byte {
	b := appendSkippableHeader(make([]byte, 0, trailerSize), trailerSize-skippableHeaderSize)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.payloadSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.indexStart))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.indexData))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.indexJSON))
	b = append(b, t.indexSum[:]...)
	b = binary.LittleEndian.AppendUint32(b, t.features)
	b = binary.LittleEndian.AppendUint32(b, t.version)
	b = binary.LittleEndian.AppendUint32(b, trailerSize)
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	return append(b, magic...)
}

// hasTail tells whether b, the end of a file, is the end of a bundle, and how
// long its trailer claims to be.
func hasTail(b []byte) (length int64, ok bool) {
	if len(b) != tailSize || string(b[tailSize-len(magic):]) != magic {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint32(b[8:])), true
}

// parseTrailer reads the trailer of any version as far as the versions agree,
// and all of one of this version. A *VersionError means it is intact.
func parseTrailer(b []byte) (trailer, error) {
	if len(b) < tailSize {
		return trailer{}, errors.New("it is too short")
	}
	tail := b[len(b)-tailSize:]
	if n, ok := hasTail(tail); !ok || n != int64(len(b)) {
		return trailer{}, errors.New("its length is wrong")
	}
	if binary.LittleEndian.Uint32(tail[12:]) != checksum(b[:len(b)-20]) {
		return trailer{}, errors.New("its checksum does not match")
	}
	t := trailer{
		features: binary.LittleEndian.Uint32(tail),
		version:  binary.LittleEndian.Uint32(tail[4:]),
	}
	if err := checkVersion(t.version, t.features); err != nil {
		return trailer{}, err
	}
	if len(b) != trailerSize {
		return trailer{}, fmt.Errorf("a trailer of %d bytes", len(b))
	}
	t.payloadSize = int64(binary.LittleEndian.Uint64(b[8:]))
	t.indexStart = int64(binary.LittleEndian.Uint64(b[16:]))
	t.indexData = int64(binary.LittleEndian.Uint32(b[24:]))
	t.indexJSON = int64(binary.LittleEndian.Uint32(b[28:]))
	copy(t.indexSum[:], b[32:64])
	if !bytes.Equal(b, t.marshal()) {
		return trailer{}, errors.New("it does not begin like one")
	}
	return t, nil
}

// check bounds every length of the trailer by the file's size.
func (t trailer) check(size int64) error {
	switch {
	case t.payloadSize < headSize+trailerSize || t.payloadSize > size:
		return fmt.Errorf("a payload of %d bytes in a file of %d", t.payloadSize, size)
	case t.indexData > maxIndexData || t.indexJSON > maxIndexJSON:
		return fmt.Errorf("an index of %d bytes, %d decoded", t.indexData, t.indexJSON)
	case t.indexStart < headSize || t.indexStart > t.payloadSize,
		t.indexStart+sectionHeaderSize+t.indexData != t.payloadSize-trailerSize:
		return fmt.Errorf("an index at %d in a payload of %d bytes", t.indexStart, t.payloadSize)
	}
	return nil
}

const sectionHeaderSize = skippableHeaderSize + sectionTagSize

func appendSectionHeader(dst []byte, tag string, n int) []byte {
	return append(appendSkippableHeader(dst, sectionTagSize+n), tag...)
}

func checkVersion(version, features uint32) error {
	unknown := features &^ knownFeatures
	if version != formatVersion || unknown != 0 {
		return &VersionError{Version: int(version), Supported: formatVersion, Features: unknown}
	}
	return nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
