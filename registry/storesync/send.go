package storesync

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// errWrite marks an error of the connection's writing side.
var errWrite = errors.New("write to the other end")

type sender struct {
	options  PushOptions
	source   catalog.Source
	table    []entry
	w        *frameWriter
	answers  chan answer
	received int64
	again    bool // what is sent arrived damaged before, so the source hashes it too: that tells whose fault it is
	receipt  Receipt

	telling sync.Mutex // while Progress is told
	taken   int64      // bytes that it was told of others
	passing bool       // the receiver takes blobs from others
}

func (s *sender) progress(bytes int64) {
	if s.options.Progress != nil && bytes != 0 {
		s.options.Progress(bytes)
	}
}

// passed tells how many bytes other hosts have sent by now. What a receiver says of it at another time is passed over.
func (s *sender) passed(bytes int64) {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.passing {
		s.progress(bytes - s.taken)
		s.taken = bytes
	}
}

func (s *sender) setPassing(passing bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.passing = passing
}

func (s *sender) run(ctx context.Context, c catalog.Catalog, index map[key]int) error {
	joined := s.options.Fanout == nil
	defer func() {
		if !joined {
			s.options.Fanout.Absent()
		}
	}()
	if err := s.want(); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	a, err := s.wait(ctx)
	if err != nil {
		return err
	}
	s.count(a.missing)
	if s.options.Missing != nil {
		s.options.Missing(s.blobsOf(a.missing))
	}
	if s.options.Left != nil {
		s.options.Left(s.receipt.BytesMissing)
	}
	if s.options.DryRun {
		return nil
	}
	leave := func() {}
	if s.options.Fanout != nil {
		if a.relay != nil && s.options.Address != "" {
			a.relay.address = s.options.Address
		} else {
			a.relay = nil
		}
		relay := a.relay
		peers := s.options.Fanout.join(relay)
		joined = true
		done := false
		leave = func() { done = true; s.options.Fanout.leave(nil) }
		defer func() {
			if !done {
				s.options.Fanout.leave(relay)
			}
		}()
		if len(a.missing) > 0 && len(peers) > 0 {
			if a, err = s.pass(ctx, peers, a.missing); err != nil {
				return err
			}
		}
	}
	for round := 0; len(a.missing) > 0; round++ {
		if round == maxRounds {
			return protocolError("the receiver asks for blobs again and again")
		}
		s.again = round > 0
		if err := s.blobs(ctx, a.missing); err != nil {
			return err
		}
		if err := s.w.write(frameSent, nil); err != nil {
			return fmt.Errorf("%w: %w", errWrite, err)
		}
		if a, err = s.wait(ctx); err != nil {
			return err
		}
	}
	if err := s.links(c, index); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	if a, err = s.wait(ctx); err != nil {
		return err
	}
	if a.done == nil {
		return protocolError("the receiver does not say that it is done")
	}
	s.receipt.LinksSet, s.receipt.TagsSet = a.done.LinksSet, a.done.TagsSet
	if s.options.Durable != nil {
		stop := giveSigns(ctx, s.w, func() bool { return true })
		err := s.options.Durable()
		stop()
		if err != nil {
			return err
		}
	}
	if leave(); s.options.Fanout != nil {
		// The receiver waits for the end of the stream, and has to know that it will come.
		stop := giveSigns(ctx, s.w, func() bool { return true })
		s.options.Fanout.wait(ctx)
		stop()
	}
	return nil
}

// pass lets the receiver take what it lacks from peers, and returns what is left.
func (s *sender) pass(ctx context.Context, peers []relayInfo, missing []span) (answer, error) {
	s.setPassing(true)
	if err := s.w.write(framePeers, encodePeers(peers)); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errWrite, err)
	}
	a, err := s.wait(ctx)
	if err != nil {
		return a, err
	}
	blobs, bytes := s.sum(missing)
	leftBlobs, leftBytes := s.sum(a.missing)
	s.receipt.BlobsPassed, s.receipt.BytesPassed = blobs-leftBlobs, bytes-leftBytes
	s.passed(s.receipt.BytesPassed)
	s.setPassing(false)
	return a, nil
}

// sum returns how many blobs are missing, and how many bytes of them.
func (s *sender) sum(missing []span) (blobs int, bytes int64) {
	for _, sp := range missing {
		blobs += sp.count
		bytes -= sp.offset
		for _, e := range s.table[sp.first : sp.first+sp.count] {
			bytes += e.size
		}
	}
	return blobs, bytes
}

// want states every blob the store shall hold.
func (s *sender) want() error {
	h := hello{blobs: len(s.table)}
	if s.options.All {
		h.flags |= flagAll
	}
	if s.options.Verify {
		h.flags |= flagVerify
	}
	if s.options.DryRun {
		h.flags |= flagDryRun
	}
	if s.options.Fanout != nil {
		h.flags |= flagRelay
	}
	if err := s.w.write(frameHello, h.encode()); err != nil {
		return err
	}
	for first := 0; first < len(s.table); first += entriesPerFrame {
		part := s.table[first:min(first+entriesPerFrame, len(s.table))]
		if err := s.w.write(frameWant, encodeEntries(part)); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) count(missing []span) {
	s.receipt.BlobsKnown = len(s.table)
	for _, e := range s.table {
		s.receipt.BytesKnown += e.size
	}
	s.receipt.BlobsMissing, s.receipt.BytesMissing = s.sum(missing)
	for _, sp := range missing {
		s.receipt.BytesResumed += sp.offset
	}
	s.receipt.BlobsKnown -= s.receipt.BlobsMissing
	s.receipt.BytesKnown -= s.receipt.BytesMissing + s.receipt.BytesResumed
}

func (s *sender) blobsOf(missing []span) []catalog.Blob {
	var all []catalog.Blob
	for _, sp := range missing {
		for _, e := range s.table[sp.first : sp.first+sp.count] {
			all = append(all, e.blob())
		}
	}
	return all
}

// piece is a frame on its way from the source to the wire.
type piece struct {
	t    frameType
	data []byte
	buf  []byte // to be given back, if any
}

// blobs sends what the spans name. One goroutine reads ahead, across blobs too, while this one writes.
func (s *sender) blobs(ctx context.Context, missing []span) error {
	g, ctx := errgroup.WithContext(ctx)
	pieces := make(chan piece, 4)
	free := make(chan []byte, 6)
	for range cap(free) {
		free <- make([]byte, maxData)
	}
	g.Go(func() error {
		defer close(pieces)
		for _, sp := range missing {
			for i := sp.first; i < sp.first+sp.count; i++ {
				if err := s.read(ctx, i, sp.offset, pieces, free); err != nil {
					return fmt.Errorf("read blob %s: %w", s.table[i].key.digest(), err)
				}
			}
		}
		return nil
	})
	g.Go(func() error {
		for p := range pieces {
			if err := s.w.write(p.t, p.data); err != nil {
				return fmt.Errorf("%w: %w", errWrite, err)
			}
			if p.t == frameData {
				free <- p.buf
				s.receipt.BytesSent += int64(len(p.data))
				s.progress(int64(len(p.data)))
			} else {
				s.receipt.BlobsSent++
			}
		}
		return nil
	})
	return g.Wait()
}

// read puts the frames of one blob into pieces.
func (s *sender) read(ctx context.Context, i int, offset int64, pieces chan<- piece, free <-chan []byte) error {
	size := s.table[i].size
	r, err := s.open(i, offset)
	if err != nil {
		return err
	}
	defer r.Close()
	put := func(p piece) error {
		select {
		case pieces <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(i)), uint64(offset))
	if err := put(piece{t: frameBlob, data: head}); err != nil {
		return err
	}
	for at := offset; at < size; {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return noEOF(err)
		}
		at += int64(n)
		if at == size && offset == 0 {
			// A source that verifies does so when it reports the end, and its last bytes wait for that.
			if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				if err == nil {
					err = fmt.Errorf("more than %d bytes: %w", size, catalog.ErrInvalid)
				}
				return err
			}
		}
		if err := put(piece{t: frameData, data: buf[:n], buf: buf}); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) open(i int, offset int64) (io.ReadCloser, error) {
	e := s.table[i]
	if offset == 0 {
		if u, ok := s.source.(catalog.UnverifiedSource); ok && !s.again {
			return u.OpenUnverified(e.key.digest())
		}
		return s.source.OpenBlob(e.key.digest())
	}
	at, err := s.source.BlobAt(e.key.digest())
	if err != nil {
		return nil, err
	}
	if at.Size() != e.size {
		catalog.Close(at)
		return nil, fmt.Errorf("%d bytes where %d were expected: %w", at.Size(), e.size, catalog.ErrInvalid)
	}
	return catalog.Section(at, offset, e.size-offset), nil
}

func (s *sender) links(c catalog.Catalog, index map[key]int) error {
	frames, err := encodeLinks(splitLinks(c, index))
	if err != nil {
		return err
	}
	for _, f := range frames {
		if err := s.w.write(frameLinks, f); err != nil {
			return err
		}
	}
	return s.w.write(frameEnd, nil)
}
