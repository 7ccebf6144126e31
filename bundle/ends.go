package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// FormatVersion is the version of bundles that are written, and the only one that is read; FORMAT.md says what it is.
const FormatVersion = 1

const (
	knownFeatures = 0

	magic       = "sealbuild bundle"
	headSize    = 84
	trailerSize = 100
	// tailSize bytes at the end of the file have the same meaning in every
	// version: features, version, trailer length, checksum, magic.
	tailSize       = 32
	maxTrailerSize = 4096

	sectionTagSize = 8
	indexTag       = "SEALINDX"
	signatureTag   = "SEALSIGN"

	// MaxStubSize bounds the executable in front of the payload, and so how far
	// Open looks for the head of a file whose trailer is missing.
	MaxStubSize = 256 << 20
	// The index is read whole: 200 000 blobs take about 5 MiB of the first.
	maxIndexData = 32 << 20
	maxIndexJSON = 96 << 20
	// An RSA key of 16384 bits signs in 6 KiB of text.
	maxSignature = 16 << 10
)

// head begins the payload. Its layout is the same in every version.
type head struct {
	version, features uint32
	stubSize          int64
	stubSum           [32]byte
	partSize          int64 // bytes of each file but the last; 0 for one file
}

func (h head) marshal() []byte {
	b := appendSkippableHeader(make([]byte, 0, headSize), headSize-skippableHeaderSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, h.version)
	b = binary.LittleEndian.AppendUint32(b, h.features)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.stubSize))
	b = append(b, h.stubSum[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.partSize))
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// headStart is how every head begins.
func headStart() []byte { return head{}.marshal()[:skippableHeaderSize+len(magic)] }

func parseHead(b []byte) (head, error) {
	if len(b) != headSize || !bytes.Equal(b[:24], headStart()) {
		return head{}, errors.New("the magic is not there")
	}
	if binary.LittleEndian.Uint32(b[80:]) != checksum(b[:80]) {
		return head{}, errors.New("its checksum does not match")
	}
	h := head{
		version:  binary.LittleEndian.Uint32(b[24:]),
		features: binary.LittleEndian.Uint32(b[28:]),
		stubSize: int64(binary.LittleEndian.Uint64(b[32:])),
	}
	copy(h.stubSum[:], b[40:72])
	h.partSize = int64(binary.LittleEndian.Uint64(b[72:]))
	if h.stubSize < 0 || h.stubSize > MaxStubSize {
		return head{}, fmt.Errorf("a stub of %d bytes", uint64(h.stubSize))
	}
	if h.partSize < 0 || h.partSize > 0 && h.partSize < h.stubSize+headSize {
		return head{}, fmt.Errorf("parts of %d bytes", uint64(h.partSize))
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
	signature   int64 // bytes of the signature's text behind the index; 0 for none
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
	b = binary.LittleEndian.AppendUint32(b, uint32(t.signature))
	b = binary.LittleEndian.AppendUint32(b, t.features)
	b = binary.LittleEndian.AppendUint32(b, t.version)
	b = binary.LittleEndian.AppendUint32(b, trailerSize)
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	return append(b, magic...)
}

// hasTail tells whether b, the end of a file, is the end of a bundle, and how long its trailer claims to be.
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
	t.signature = int64(binary.LittleEndian.Uint32(b[64:]))
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
	case t.signature > maxSignature:
		return fmt.Errorf("a signature of %d bytes", t.signature)
	case t.indexStart < headSize || t.indexStart > t.payloadSize, t.signatureStart()+t.signatureSize() != t.payloadSize-trailerSize:
		return fmt.Errorf("an index at %d in a payload of %d bytes", t.indexStart, t.payloadSize)
	}
	return nil
}

// signatureStart is where the signature's frame lies, from the head; the trailer when there is none.
func (t trailer) signatureStart() int64 { return t.indexStart + sectionHeaderSize + t.indexData }

// signatureSize is the length of that frame.
func (t trailer) signatureSize() int64 {
	if t.signature == 0 {
		return 0
	}
	return sectionHeaderSize + t.signature
}

const sectionHeaderSize = skippableHeaderSize + sectionTagSize

func appendSectionHeader(dst []byte, tag string, n int) []byte {
	return append(appendSkippableHeader(dst, sectionTagSize+n), tag...)
}

func checkVersion(version, features uint32) error {
	unknown := features &^ knownFeatures
	if version != FormatVersion || unknown != 0 {
		return &VersionError{Version: int(version), Supported: FormatVersion, Features: unknown}
	}
	return nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
