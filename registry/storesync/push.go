package storesync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// PushOptions say what a push does. The zero value sends what is missing.
type PushOptions struct {
	All    bool // send every blob, whatever the store has (copy mode)
	Verify bool // the store hashes the blobs it has instead of trusting names and sizes; damaged ones are sent again
	DryRun bool // only ask what is missing: the receipt's Missing fields. Nothing is made or changed over there

	Missing func([]catalog.Blob) // told, once and before anything is sent, what the store lacks
	Left    func(bytes int64)    // told at the same time how many bytes are to come, without what was kept of interrupted blobs
	// Fanout makes this push one of several that help each other. Address is where the other hosts reach this one: a name or an
	// IP address.
	Fanout  *Fanout
	Address string

	// Durable is told, once, that the store has everything, before a push of a fan-out waits for the others. Its error is that of
	// the push.
	Durable func() error
	// Progress is told of blob bytes as they are sent, by this or by other hosts; never at once from two goroutines. What arrived
	// damaged is sent, and told of, again; what others sent so is taken back: a negative number.
	Progress func(bytes int64)
}

// Receipt is what a session did. Sizes are in bytes.
type Receipt struct {
	BlobsKnown   int   // blobs of the catalog that the store had
	BytesKnown   int64 // their size
	BlobsMissing int   // blobs that the store lacked
	BytesMissing int64 // their size, without what was kept of interrupted ones
	BlobsSent    int   // blobs sent, those sent twice twice
	BytesSent    int64 // bytes of blobs sent
	BlobsPassed  int   // blobs that other hosts sent, in a fan-out
	BytesPassed  int64 // bytes of those
	BytesResumed int64 // bytes of blobs that did not have to be sent again after an interrupted session
	LinksSet     int   // link files written, tags not counted
	TagsSet      int   // tags set or changed
	WireBytes    int64 // everything that went over the wire, both ways, as seen from this end
}

// maxRounds is how often the receiver may ask: blobs that arrive damaged are asked for again.
const maxRounds = 3

// Push makes the store at the other end of w and r hold the catalog. It returns when everything is durable over there.
//
// An error leaves the store valid, and pushing again goes on where it stopped. *PeerError is what the receiver said. When
// ctx ends or the receiver gives up, w and r are closed if they can be: a blocked Write ends in no other way.
func Push(ctx context.Context, w io.Writer, r io.Reader, c catalog.Catalog, src catalog.Source, o PushOptions) (Receipt, error) {
	table, index, err := newTable(c)
	if err != nil {
		return Receipt{}, fmt.Errorf("push: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { closeAll(w, r) })
	defer stop()

	s := &sender{options: o, source: src, table: table, w: newFrameWriter(w), answers: make(chan answer, 1)}
	fr := newFrameReader(r)
	go s.listen(ctx, fr, cancel)
	err = s.run(ctx, c, index)
	if err != nil {
		err = s.reason(ctx, err)
		var peer *PeerError
		if ctx.Err() == nil && !errors.As(err, &peer) && !errors.Is(err, io.ErrUnexpectedEOF) {
			s.w.failSoon(err)
		}
		return s.receipt, fmt.Errorf("push: %w", err)
	}
	s.receipt.WireBytes = s.w.n.Load() + s.received
	return s.receipt, nil
}

// newTable numbers the blobs of a catalog in the order in which they are sent: layers, then manifests, children first.
func newTable(c catalog.Catalog) ([]entry, map[key]int, error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	var table []entry
	index := map[key]int{}
	tags := 0
	for _, manifests := range []bool{false, true} {
		for _, r := range c.Repositories {
			blobs := r.Layers
			if manifests {
				blobs = r.Manifests
				tags += len(r.Tags)
			}
			for _, b := range blobs {
				k := keyOf(b.Digest)
				if i, ok := index[k]; !ok {
					index[k] = len(table)
					table = append(table, entry{k, b.Size})
				} else if table[i].size != b.Size {
					return nil, nil, fmt.Errorf("blob %s: size %d here and %d there: %w", b.Digest, table[i].size, b.Size, catalog.ErrInvalid)
				}
			}
		}
	}
	if len(table) > maxBlobs || tags > maxTags || len(c.Repositories) > maxRepositories {
		return nil, nil, fmt.Errorf("%s with %s and %s are more than a session can carry: %w", count.Of(len(c.Repositories), "repository", "repositories"), count.Of(len(table), "blob"), count.Of(tags, "tag"), catalog.ErrInvalid)
	}
	return table, index, nil
}

// answer is what the receiver says between the sender's turns.
type answer struct {
	relay   *relayInfo
	missing []span
	done    *Receipt
	bytes   int64 // read so far
	err     error
}

// listen reads the receiver's answers all the time, so that its reason is heard even while a Write blocks.
func (s *sender) listen(ctx context.Context, fr *frameReader, cancel context.CancelCauseFunc) {
	defer close(s.answers)
	for {
		a := s.nextAnswer(fr)
		a.bytes = fr.n
		select {
		case s.answers <- a:
		case <-ctx.Done():
			return
		}
		if a.err != nil {
			var peer *PeerError
			if errors.As(a.err, &peer) {
				cancel(a.err) // the receiver reads no more
			}
			return
		}
		if a.done != nil {
			return
		}
	}
}

func (s *sender) nextAnswer(fr *frameReader) (a answer) {
	next := 0
	for {
		t, payload, err := fr.frame()
		if err != nil {
			return answer{err: err}
		}
		switch t {
		case frameHello:
			_, a.err = decodeHello(payload)
		case frameRelay:
			var info relayInfo
			info, a.err = decodeRelay(payload)
			a.relay = &info
		case frameMissing:
			a.missing, next, a.err = decodeSpans(a.missing, next, payload, s.table)
		case frameTaken:
			d := decoder{data: payload}
			taken := int64(d.uvarint(math.MaxInt64))
			if a.err = d.end(); a.err == nil {
				s.passed(taken)
			}
		case frameAsked:
			return a
		case frameDone:
			a.done, a.err = decodeReceipt(payload)
			return a
		default:
			a.err = protocolError("frame of type %d from the receiver", t)
		}
		if a.err != nil {
			return a
		}
	}
}

// wait returns the receiver's next answer.
func (s *sender) wait(ctx context.Context) (answer, error) {
	if err := s.w.flush(); err != nil {
		return answer{}, err
	}
	select {
	case a, ok := <-s.answers:
		if !ok {
			return a, io.ErrUnexpectedEOF
		}
		s.received = a.bytes
		return a, a.err
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// reason prefers what the receiver said to the broken pipe that followed.
func (s *sender) reason(ctx context.Context, err error) error {
	var peer *PeerError
	if errors.As(err, &peer) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if !errors.Is(err, errWrite) {
		return err
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for {
		select {
		case a, ok := <-s.answers:
			if !ok {
				return err
			}
			if errors.As(a.err, &peer) {
				return a.err
			}
		case <-timer.C:
			return err
		}
	}
}

func closeAll(ends ...any) {
	for _, e := range ends {
		if c, ok := e.(io.Closer); ok {
			c.Close()
		}
	}
}
