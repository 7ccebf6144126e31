package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Damage is a range of bytes that are not what the index says.
type Damage struct {
	Entry  string // a path in the archive or one of the Part names
	Offset int64  // from the start of the file
	Length int64
	Reason string
}

func (d Damage) String() string {
	return fmt.Sprintf("%s: bytes %d to %d: %s", d.Entry, d.Offset, d.Offset+d.Length, d.Reason)
}

// Verify reads the whole file and lists every damaged range, in file order; no Damage means that every byte is the one that was
// written, and that every stored blob has its digest. Compressed blobs are compared as they lie in the file, not decoded: a reader
// checks them against their own digest, too.
//
// All CPUs work, also on a single large blob. progress, which may be nil, is called with the bytes checked so far and the file's
// size, by one goroutine at a time. The error is not about the bundle: ctx ended.
func (r *Reader) Verify(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	v := &verifier{r: r, progress: progress}
	g, gctx := errgroup.WithContext(ctx)
	for range max(1, runtime.GOMAXPROCS(0)) {
		g.Go(func() error { return v.work(gctx) })
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("verify bundle: %w", err)
	}
	slices.SortFunc(v.damage, func(a, b Damage) int { return cmp.Compare(a.Offset, b.Offset) })
	return v.damage, nil
}

type verifier struct {
	r        *Reader
	progress func(done, total int64)

	mu     sync.Mutex
	began  bool  // somebody looks at the ends
	entry  int   // the next unit to check: file order is kind to slow media
	unit   int64 // in that entry
	done   int64
	damage []Damage
}

// work checks the ends once, then units until there are none.
func (v *verifier) work(ctx context.Context) error {
	if v.first() {
		if err := v.ends(ctx); err != nil {
			return err
		}
	}
	buf := v.r.getChunk(chunkSize)
	defer v.r.putChunk(buf)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, i, ok := v.next()
		if !ok {
			return nil
		}
		if i == 0 {
			v.header(n)
		}
		v.check(n, i, buf)
	}
}

func (v *verifier) first() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	first := !v.began
	v.began = true
	return first
}

func (v *verifier) next() (entry int, unit int64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	entries := v.r.index.Entries
	if v.entry == len(entries) {
		return 0, 0, false
	}
	entry, unit = v.entry, v.unit
	if v.unit++; v.unit == entries[entry].units() {
		v.entry, v.unit = v.entry+1, 0
	}
	return entry, unit, true
}

func (v *verifier) checked(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done += n
	if v.progress != nil {
		v.progress(v.done, v.r.size)
	}
}

func (v *verifier) report(entry string, off, length int64, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.damage = append(v.damage, Damage{entry, off, length, fmt.Sprintf(format, args...)})
}

// reportError files an error that names its own range.
func (v *verifier) reportError(entry string, off, length int64, err error) {
	if c := new(CorruptError); errors.As(err, &c) {
		v.report(c.Entry, c.Offset, c.Length, "%v", c.Err)
		return
	}
	v.report(entry, off, length, "%v", err)
}

// same compares the bytes at off with what they must be.
func (v *verifier) same(name string, off int64, want []byte) {
	got := make([]byte, len(want))
	if err := readFull(v.r.r, got, off); err != nil {
		v.report(name, off, int64(len(want)), "%v", err)
	} else if !bytes.Equal(got, want) {
		first := 0
		for got[first] == want[first] {
			first++
		}
		last := len(want) - 1
		for got[last] == want[last] {
			last--
		}
		v.report(name, off+int64(first), int64(last-first+1), "bytes differ from what the index implies")
	}
	v.checked(int64(len(want)))
}

// ends checks all that is not an entry. Open checked most of it; the file may have changed since.

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
