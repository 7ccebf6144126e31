package bundle

import (
	"crypto/sha256"
	"fmt"
	"hash"
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
