package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// Verify reads the whole file and lists every damaged range, in file order; no
// Damage means that every byte is the one that was written. It works on as
// many entries at once as there are CPUs. progress, which may be nil, is
// called with the bytes checked so far and the file's size, by one goroutine
// at a time. The error is not about the bundle: ctx ended.
func (r *Reader) Verify(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	v := &verifier{r: r, progress: progress}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	g.Go(func() error { return v.ends(gctx) })
	// The largest entries first, so that no CPU is left with one at the end.
	order := make([]int, len(r.index.Entries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(r.index.Entries[b].length(), r.index.Entries[a].length())
	})
	for _, i := range order {
		g.Go(func() error { return v.entry(gctx, i) })
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
	done   int64
	damage []Damage
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

// ends checks all that is not an entry. Open checked most of it; the file may
// have changed since.
func (v *verifier) ends(ctx context.Context) error {
	r := v.r
	h := sha256.New()
	buf := r.getChunk(r.start)
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
	hd := head{version: r.trailer.version, features: r.trailer.features, stubSize: r.start}
	h.Sum(hd.stubSum[:0])
	if got := sumDigest(hd.stubSum[:]); got != r.index.Stub.Digest {
		v.report(PartStub, 0, r.start, "it hashes to %s", got)
		if sum, err := hex.DecodeString(r.index.Stub.Digest.Encoded()); err == nil {
			copy(hd.stubSum[:], sum)
		}
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
	v.same(PartTrailer, r.size-trailerSize, r.trailer.marshal())
	return nil
}

func (v *verifier) entry(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &v.r.index.Entries[i]
	var prev int64
	if i > 0 {
		prev = v.r.index.Entries[i-1].Size
	}
	frame := appendRawFrame(nil, gap(prev, tarHeader{name: e.Path, size: e.Size, mtime: v.r.index.ModTime}))
	v.same(headerOf(e.Path), v.r.start+e.Offset-int64(len(frame)), frame)
	if e.stored() {
		return v.storedEntry(ctx, e)
	}
	return v.packedEntry(ctx, e)
}

func (v *verifier) storedEntry(ctx context.Context, e *entry) error {
	src := &storedPieces{r: v.r, e: e}
	defer src.release()
	h := sha256.New()
	var seen int64
	defer func() { v.checked(e.length() - seen) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece, err := src.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			v.reportError(e.Path, v.r.start+e.Offset, e.length(), err)
			return nil
		}
		h.Write(piece)
		if len(src.chunk) == 0 { // once per chunk is often enough
			n := min(rawOffset(src.pos)-blockHeaderSize, e.length()) - seen
			seen += n
			v.checked(n)
		}
	}
	if got := sumDigest(h.Sum(nil)); got != e.Digest {
		v.report(e.Path, v.r.start+e.Offset, e.length(), "its content hashes to %s", got)
	}
	return nil
}

func (v *verifier) packedEntry(ctx context.Context, e *entry) error {
	content, frames := sha256.New(), sha256.New()
	buf := v.r.getFrames()
	defer v.r.frames.Put(buf)
	off, broken := v.r.start+e.Offset, false
	for i, n := range e.Frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := v.r.readFrame(e, i, off, buf)
		if err == nil {
			frames.Write(buf.raw)
			err = v.r.decode(e, i, off, buf)
		}
		if err != nil { // the frames behind it may be whole, so go on
			broken = true
			v.reportError(e.Path, off, n, err)
		} else {
			content.Write(buf.data)
		}
		off += n
		v.checked(n)
	}
	if broken {
		return nil
	}
	if got := sumDigest(content.Sum(nil)); got != e.Digest {
		v.report(e.Path, v.r.start+e.Offset, e.length(), "its content hashes to %s", got)
	} else if got := sumDigest(frames.Sum(nil)); got != e.FramesDigest {
		v.report(e.Path, v.r.start+e.Offset, e.length(), "its frames hash to %s", got)
	}
	return nil
}
