package storesync

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// buffersInFlight is how many buffers of maxData bytes go round between the hashing and the writing.
const buffersInFlight = 8

// chunk is work for the writer: bytes, or the end of a blob.
type chunk struct {
	in   *incoming
	data []byte // its buffer goes back when it is written
	last bool   // the blob is whole and its digest is right
	drop bool   // the blob is whole and its digest is wrong
}

// inflow is one round of blobs on its way to the disk. One goroutine reads and hashes, a second writes, and a few more fsync and
// rename; memory is bounded by the buffers that go round between the first two.
type inflow struct {
	rc     *receiver
	ctx    context.Context
	asked  []bool
	chunks chan chunk
	free   chan []byte
}

func (rc *receiver) receiveBlobs(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	f := &inflow{
		rc: rc, ctx: ctx,
		asked:  append([]bool(nil), rc.missing...),
		chunks: make(chan chunk, buffersInFlight),
		free:   make(chan []byte, buffersInFlight),
	}
	for range buffersInFlight {
		f.free <- make([]byte, maxData)
	}
	commits, cctx := newCommitter(ctx, rc)
	g.Go(func() error {
		err := f.write(cctx, commits.add)
		if cerr := commits.close(); cerr != nil {
			return cerr
		}
		return err
	})
	g.Go(func() error {
		for i := range commits.named {
			rc.receipt.BlobsSent++
			rc.missing[i] = false
			rc.relay.ends(i)
		}
		return nil
	})
	err := f.read()
	close(f.chunks)
	if werr := g.Wait(); werr != nil {
		return werr // a full disk is the reason, the stream that ended because of it is not
	}
	return err
}

// write writes chunks until there are no more, or until a write or a commit failed: then ctx ends.
func (f *inflow) write(ctx context.Context, commit func(*incoming)) error {
	open := map[*incoming]bool{}
	defer func() {
		for in := range open { // cut off: what came stays for the next session
			in.file.Close()
		}
	}()
	for {
		var c chunk
		var ok bool
		select {
		case c, ok = <-f.chunks:
		case <-ctx.Done():
			// A stop that was asked for keeps what has come; after a failure there is no use in it.
			if f.ctx.Err() == nil {
				return nil // the commit's error is reported
			}
			c, ok = <-f.chunks
		}
		if !ok {
			return nil
		}
		if !open[c.in] {
			open[c.in] = true
			f.rc.relay.begins(c.in.index, c.in.path, c.in.size)
		}
		if len(c.data) > 0 {
			if _, err := c.in.file.Write(c.data); err != nil {
				return fmt.Errorf("write blob: %w", err)
			}
			f.rc.relay.grows(c.in.index, len(c.data))
			f.free <- c.data[:maxData]
		}
		if c.drop {
			os.Remove(c.in.path)
			c.in.file.Close()
			f.rc.relay.drops(c.in.index)
		}
		if c.last {
			commit(c.in)
		}
		if c.drop || c.last {
			delete(open, c.in)
		}
	}
}

// put hands a chunk to the writer.
func (f *inflow) put(c chunk) error {
	select {
	case f.chunks <- c:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// read reads the frames of one round.
func (f *inflow) read() error {
	rc := f.rc
	for {
		t, payload, err := f.control()
		if err != nil {
			return err
		}
		if t == frameSent {
			return nil
		}
		if t != frameBlob {
			return protocolError("frame of type %d among the blobs", t)
		}
		d := decoder{data: payload}
		i := int(d.uvarint(maxBlobs))
		offset := int64(d.uvarint(catalog.MaxBlobSize))
		if err := d.end(); err != nil {
			return err
		}
		if i >= len(rc.table) || !f.asked[i] || offset != rc.held(i) {
			return protocolError("blob %d from byte %d was not asked for", i, offset)
		}
		f.asked[i] = false
		if err := f.blob(i, offset); err != nil {
			return err
		}
	}
}

// control reads a frame between blobs; none of them is large.
func (f *inflow) control() (frameType, []byte, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, nil, err
	}
	return f.rc.r.frame()
}

func (f *inflow) blob(i int, offset int64) error {
	in, err := f.rc.create(i)
	if err != nil {
		return fmt.Errorf("make partial blob: %w", err)
	}
	if err := f.put(chunk{in: in}); err != nil { // from now on the writer closes the file
		in.file.Close()
		return err
	}
	h := sha256.New()
	if offset > 0 {
		// A file can be longer than what reached the disk before a power cut, so its bytes are read again.
		r := disk.Watched(f.ctx, io.NewSectionReader(in.file, 0, offset), nil)
		if n, err := io.Copy(h, r); err != nil || n != offset {
			return fmt.Errorf("read partial blob, %d of %d bytes: %w", n, offset, err)
		}
		if _, err := in.file.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("seek in partial blob: %w", err)
		}
	}
	if err := f.data(in, f.rc.table[i].size-offset, h); err != nil {
		return err
	}
	right := [sha256.Size]byte(h.Sum(nil)) == f.rc.table[i].key
	return f.put(chunk{in: in, last: right, drop: !right})
}

// data takes the bytes of a blob. Those of a frame that is cut off count too.
func (f *inflow) data(in *incoming, left int64, h hash.Hash) error {
	r := f.rc.r
	for left > 0 {
		t, n, err := r.header()
		if err != nil {
			return err
		}
		if t == frameError {
			payload, err := r.payload(n)
			if err != nil {
				return err
			}
			return peerError(payload)
		}
		if t != frameData || n == 0 || int64(n) > left {
			return protocolError("frame of type %d with %d bytes inside a blob", t, n)
		}
		var buf []byte
		select {
		case buf = <-f.free:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		got, err := io.ReadFull(r.r, buf[:n])
		r.n += int64(got)
		h.Write(buf[:got])
		f.rc.receipt.BytesSent += int64(got)
		left -= int64(got)
		if perr := f.put(chunk{in: in, data: buf[:got]}); perr != nil {
			return perr
		}
		if err != nil {
			return noEOF(err)
		}
	}
	return nil
}
