package bundle

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync/atomic"
)

// startUnit returns the hash as it is where unit i of a stored entry begins.
func (e *entry) startUnit(i int64) (hash.Hash, error) {
	if i == 0 {
		return sha256.New(), nil
	}
	return resumeHash(e.States[i-1], i*unitSize)
}

// endUnit tells whether h is as it must be where unit i of a stored entry ends.
// When that holds for all units, they hash to the entry's digest.
func (e *entry) endUnit(i int64, h hash.Hash) (bool, error) {
	if i == e.units()-1 {
		return sumDigest(h.Sum(nil)) == e.Digest, nil
	}
	s, err := stateOf(h)
	return s == e.States[i], err
}

// storedRange is where unit i of a stored entry lies in the entry, its headers included.
func (e *entry) storedRange(i int64) Range {
	at := rawOffset(i*unitSize) - blockHeaderSize
	end := at + e.unitContent(i)
	if blocks := (e.unitContent(i) + blockSize - 1) / blockSize; blocks > 0 {
		end += blocks * blockHeaderSize
	} else {
		end += blockHeaderSize // nothing is one empty block
	}
	if i == 0 {
		at = 0
	}
	return Range{at, end - at}
}

// checkStored reads unit i of entry n, which is stored, through buf and checks every byte of it. see, which may be nil, gets the
// content block by block with its offset in the entry, before it is known to be right.
func (r *Reader) checkStored(n int, i int64, buf []byte, see func(off int64, block []byte)) error {
	e := &r.index.Entries[n]
	if i == 0 {
		if err := r.checkRawHeader(e, buf); err != nil {
			return err
		}
	}
	h, err := e.startUnit(i)
	if err != nil {
		return err
	}
	pos, end := i*unitSize, i*unitSize+e.unitContent(i)
	for first := true; first || pos < end; first = false {
		chunk, err := r.readChunk(e, pos, min(end-pos, chunkBlocks*blockSize), buf)
		if err != nil {
			return err
		}
		for len(chunk) > 0 {
			k := min(len(chunk), blockHeaderSize+blockSize)
			block := chunk[blockHeaderSize:k]
			h.Write(block)
			if see != nil {
				see(pos, block)
			}
			pos += int64(len(block))
			chunk = chunk[k:]
		}
	}
	ok, err := e.endUnit(i, h)
	if err != nil {
		return err
	}
	if !ok {
		at := e.storedRange(i)
		return corrupt(e.Path, r.start+e.Offset+at.Offset, at.Length, "part %d of %d of its content has another hash", i+1, e.units())
	}
	r.known.set(n, i)
	return nil
}

func (r *Reader) checkRawHeader(e *entry, buf []byte) error {
	off := r.start + e.Offset
	got, want := buf[:rawHeaderSize], [rawHeaderSize]byte{}
	putRawHeader(want[:], e.Size)
	if err := readFull(r.r, got, off); err != nil {
		return &CorruptError{e.Path, off, rawHeaderSize, err}
	}
	if [rawHeaderSize]byte(got) != want {
		return corrupt(e.Path, off, rawHeaderSize, "the frame header is %x, not %x", got, want)
	}
	return nil
}

// readChunk reads the blocks of a stored entry that hold n bytes from pos, the first byte of a block, and checks their headers.
func (r *Reader) readChunk(e *entry, pos, n int64, buf []byte) ([]byte, error) {
	off := r.start + e.Offset + rawOffset(pos) - blockHeaderSize
	chunk := buf[:n+blocksOf(n)*blockHeaderSize]
	if err := readFull(r.r, chunk, off); err != nil {
		return nil, &CorruptError{e.Path, off, int64(len(chunk)), err}
	}
	left := e.Size - pos
	for p := 0; p < len(chunk); p += blockHeaderSize + blockSize {
		k := min(left, blockSize)
		left -= k
		if want := blockHeader(k, left == 0); want != [blockHeaderSize]byte(chunk[p:]) {
			return nil, corrupt(e.Path, off+int64(p), blockHeaderSize, "a block header is %x, not %x", chunk[p:p+blockHeaderSize], want)
		}
	}
	return chunk, nil
}

// checkFrame compares frame i of entry n, which lies at off and is in raw, with its digest.
func (r *Reader) checkFrame(n int, i, off int64, h hash.Hash) error {
	e := &r.index.Entries[n]
	if hashSum(h.Sum(nil)) != e.FrameSums[i] {
		return &CorruptError{e.Path, off, e.Frames[i], fmt.Errorf("frame %d of %d has another hash", i+1, len(e.Frames))}
	}
	r.known.set(n, i)
	return nil
}

// unitLength is the length in the file of unit i.
func (e *entry) unitLength(i int64) int64 {
	if e.stored() {
		return e.storedRange(i).Length
	}
	return e.Frames[i]
}

// checkUnit reads unit i of entry n, which lies at off in the file, through buf and checks it. A compressed unit is not decoded.
func (r *Reader) checkUnit(n int, i, off int64, buf []byte) error {
	e := &r.index.Entries[n]
	if e.stored() {
		return r.checkStored(n, i, buf, nil)
	}
	h := sha256.New()
	for done := int64(0); done < e.Frames[i]; {
		piece := buf[:min(int64(len(buf)), e.Frames[i]-done)]
		if err := readFull(r.r, piece, off+done); err != nil {
			return &CorruptError{e.Path, off, e.Frames[i], err}
		}
		h.Write(piece)
		done += int64(len(piece))
	}
	return r.checkFrame(n, i, off, h)
}

// knownUnits remembers which units were right, so that none is hashed twice
// while the Reader lives. A unit is named by its entry and its number in it.
type knownUnits struct {
	first []int64 // of each entry, in the numbering of all units
	bits  []atomic.Uint64
}

func newKnownUnits(ix *index) knownUnits {
	k := knownUnits{first: make([]int64, len(ix.Entries)+1)}
	for i := range ix.Entries {
		k.first[i+1] = k.first[i] + ix.Entries[i].units()
	}
	k.bits = make([]atomic.Uint64, (k.first[len(ix.Entries)]+63)/64)
	return k
}

func (k *knownUnits) right(entry int, unit int64) bool {
	n := k.first[entry] + unit
	return k.bits[n/64].Load()&(1<<(n%64)) != 0
}

func (k *knownUnits) set(entry int, unit int64) {
	n := k.first[entry] + unit
	k.bits[n/64].Or(1 << (n % 64))
}

// hashSum is a SHA-256 digest, or the state of the hash between two of its blocks:
// the eight words H of FIPS 180-4, big-endian. In JSON it is 64 hex digits.
type hashSum [sha256.Size]byte

func (s hashSum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

func (s *hashSum) UnmarshalText(b []byte) error {
	if len(b) != 2*len(s) {
		return fmt.Errorf("%d hex digits where a hash has %d", len(b), 2*len(s))
	}
	_, err := hex.Decode(s[:], b)
	return err
}

// How crypto/sha256 writes its state: a magic, the eight words, the block that is not full yet, the bytes hashed.
// TestHashStatesAreThoseOfTheStandard fails should that ever change.
const (
	stateMagic  = "sha\x03"
	stateLength = len(stateMagic) + sha256.Size + sha256.BlockSize + 8
)

var errHashState = errors.New("crypto/sha256 does not tell its state as it used to")

// stateOf returns the state of h, which has hashed whole blocks only.
func stateOf(h hash.Hash) (s hashSum, err error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return s, errHashState
	}
	b, err := m.MarshalBinary()
	if err != nil || len(b) != stateLength || string(b[:len(stateMagic)]) != stateMagic {
		return s, errors.Join(errHashState, err)
	}
	copy(s[:], b[len(stateMagic):])
	return s, nil
}

// resumeHash returns a hash that goes on from a state after n bytes.
func resumeHash(s hashSum, n int64) (hash.Hash, error) {
	b := make([]byte, 0, stateLength)
	b = append(b, stateMagic...)
	b = append(b, s[:]...)
	b = append(b, make([]byte, sha256.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errHashState
	}
	if err := u.UnmarshalBinary(b); err != nil {
		return nil, errors.Join(errHashState, err)
	}
	return h, nil
}
