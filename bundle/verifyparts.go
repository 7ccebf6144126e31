package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// ends checks what is not an entry: stub, head, end of the archive, index, signature and trailer.
func (v *verifier) ends(ctx context.Context) error {
	r := v.r
	hd := head{version: r.trailer.version, features: r.trailer.features, stubSize: r.start, partSize: r.index.PartSize}
	if err := v.stub(ctx, &hd); err != nil {
		return err
	}
	v.same(PartHead, r.start, hd.marshal())

	last := r.index.Entries[len(r.index.Entries)-1]
	end := appendRawFrame(nil, endGap(last.Size))
	at := r.start + r.trailer.indexStart
	v.same(PartEnd, at-int64(len(end)), end)
	if _, err := readIndex(r.r, at, r.trailer); err != nil {
		v.report(PartIndex, at, sectionHeaderSize+r.trailer.indexData, "%v", err)
	}
	v.checked(sectionHeaderSize + r.trailer.indexData)
	v.signature()
	v.same(PartTrailer, r.size-trailerSize, r.trailer.marshal())
	return nil
}

// stub hashes the stub and puts into hd what the head must say of it.
func (v *verifier) stub(ctx context.Context, hd *head) error {
	r := v.r
	h := sha256.New()
	buf := r.getChunk(chunkSize)
	defer r.putChunk(buf)
	for off := int64(0); off < r.start; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(buf)), r.start-off)
		if err := readFull(r.r, buf[:n], off); err != nil {
			v.report(PartStub, off, n, "%v", err)
		}
		h.Write(buf[:n])
		off += n
		v.checked(n)
	}
	h.Sum(hd.stubSum[:0])
	if got := sumDigest(hd.stubSum[:]); got != r.index.Stub.Digest {
		v.report(PartStub, 0, r.start, "it hashes to %s", got)
		if sum, err := hex.DecodeString(r.index.Stub.Digest.Encoded()); err == nil {
			copy(hd.stubSum[:], sum)
		}
	}
	return nil
}

// signature checks that the signature was made of this index. Whether its key is trusted is another question.
func (v *verifier) signature() {
	at, ok := v.r.SignatureRange()
	if !ok {
		return
	}
	v.same(PartSignature, at.Offset-sectionHeaderSize, appendSectionHeader(nil, signatureTag, int(at.Length)))
	if _, err := v.r.SignedBy(); err != nil {
		v.report(PartSignature, at.Offset, at.Length, "%v", err)
	}
	v.checked(at.Length)
}

// header compares what lies before entry n with what the index implies.
func (v *verifier) header(n int) {
	e := &v.r.index.Entries[n]
	var prev int64
	if n > 0 {
		prev = v.r.index.Entries[n-1].Size
	}
	frame := appendRawFrame(nil, gap(prev, tarHeader{name: e.Path, size: e.Size, mtime: v.r.index.ModTime}))
	v.same(headerOf(e.Path), v.r.start+e.Offset-int64(len(frame)), frame)
}

// check checks unit i of entry n.
func (v *verifier) check(n int, i int64, buf []byte) {
	e := &v.r.index.Entries[n]
	off := v.r.start + e.Offset
	if e.stored() {
		off += e.storedRange(i).Offset
	} else {
		for _, f := range e.Frames[:i] {
			off += f
		}
	}
	length := e.unitLength(i)
	if err := v.r.checkUnit(n, i, off, buf); err != nil {
		v.reportError(e.Path, off, length, err)
	}
	v.checked(length)
}
