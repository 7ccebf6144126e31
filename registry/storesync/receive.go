package storesync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// ReceiveOptions say how a store receives. The zero value is for a host as it is.
type ReceiveOptions struct {
	// Moves tells whether this machine has done anything since it was asked last; nil: it always has. Signs of life are sent only
	// while it has, or while the session waits for other hosts: so the sender notices a disk that hangs.
	Moves func() bool
	// Listen opens a relay, and Dial reaches those of others; nil for the machine's network. Tests put slow links here.
	Listen func() (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Receive is the store's end of [Push]: it makes the store hold what the sender names. The store may be new, may be
// served and may be filled by other sessions meanwhile.
//
// When the stream breaks off, what has come is kept and the error wraps io.ErrUnexpectedEOF; the next session goes on there.
// When ctx ends, r and w are closed if they can be.
func Receive(ctx context.Context, s *disk.Store, r io.Reader, w io.Writer, o ReceiveOptions) (Receipt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { closeAll(r, w) })
	defer stop()

	from := &waitedFor{r: r}
	rc := &receiver{store: s, options: o, r: newFrameReader(from), w: newFrameWriter(w)}
	quiet := giveSigns(ctx, rc.w, func() bool {
		moves := o.Moves == nil || o.Moves() // asked each time: it tells what was done since
		return rc.others.Load() || moves && !from.waits.Load()
	})
	err := rc.run(ctx)
	quiet()
	rc.receipt.WireBytes = rc.r.n + rc.w.n.Load()
	if err == nil {
		return rc.receipt, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var peer *PeerError
	if ctx.Err() == nil && !errors.As(err, &peer) && !errors.Is(err, io.ErrUnexpectedEOF) {
		rc.w.failSoon(err)
	}
	return rc.receipt, fmt.Errorf("receive into %s: %w", s.Root(), err)
}

type receiver struct {
	store   *disk.Store
	options ReceiveOptions
	r       *frameReader
	w       *frameWriter
	session *disk.Session
	hello   hello
	table   []entry
	missing []bool
	partial map[int]*incoming // interrupted blobs that go on, locked
	relay   *relay            // nil if this push is alone
	asked   bool              // the sender has named peers, which it does once a session
	fetched atomic.Int64      // bytes of blobs that they sent
	others  atomic.Bool       // the session waits for other hosts, which take blobs or give them
	receipt Receipt
}

func (rc *receiver) run(ctx context.Context) error {
	if err := rc.start(); err != nil {
		return err
	}
	if rc.hello.flags&flagDryRun == 0 {
		if err := os.MkdirAll(rc.store.Root(), 0o755); err != nil {
			return fmt.Errorf("make store: %w", err)
		}
		lock, err := rc.store.Lock(ctx, false)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if err := rc.examine(ctx); err != nil {
		return err
	}
	if rc.hello.flags&flagDryRun != 0 {
		return rc.dryRun()
	}
	if rc.store.SweepSessions() {
		// Names that a killed session gave count as there from now on, so they must be durable.
		if err := rc.store.Sync(); err != nil {
			return err
		}
	}
	session, err := rc.store.NewSession()
	if err != nil {
		return err
	}
	rc.session = session
	defer session.Close()
	defer rc.dropPartials()
	if rc.hello.flags&flagRelay != 0 {
		rc.relay = rc.newRelay()
		defer rc.relay.close()
		// If it cannot be opened nobody takes anything from this host.
		if rc.relay.open() == nil {
			if err := rc.w.write(frameRelay, rc.relay.info.encode()); err != nil {
				return err
			}
		}
	}
	if err := rc.rounds(ctx); err != nil {
		return err
	}
	if err := rc.links(ctx); err != nil {
		return err
	}
	rc.store.SweepPartials(time.Now())
	if err := rc.w.write(frameDone, encodeReceipt(rc.receipt)); err != nil {
		return err
	}
	if err := rc.w.flush(); err != nil || rc.relay == nil {
		return err
	}
	rc.others.Store(true)
	_, _ = io.Copy(io.Discard, rc.r.r) // until the sender says, by ending the stream, that nobody needs the relay
	return nil
}

// start reads what the sender wants to be here.
func (rc *receiver) start() error {
	payload, err := rc.r.expect(frameHello)
	if err != nil {
		return err
	}
	if rc.hello, err = decodeHello(payload); err != nil {
		return err
	}
	if err := rc.w.write(frameHello, hello{}.encode()); err != nil {
		return err
	}
	for len(rc.table) < rc.hello.blobs {
		payload, err := rc.r.expect(frameWant)
		if err != nil {
			return err
		}
		if len(payload) == 0 {
			return protocolError("an empty list of blobs")
		}
		if rc.table, err = decodeEntries(rc.table, payload, rc.hello.blobs); err != nil {
			return err
		}
	}
	seen := make(map[key]bool, len(rc.table))
	for _, e := range rc.table {
		if seen[e.key] {
			return protocolError("blob %s is listed twice", e.key.digest())
		}
		seen[e.key] = true
	}
	return nil
}

// examine looks at the disk for every blob; nothing is taken for granted.
func (rc *receiver) examine(ctx context.Context) error {
	rc.missing = make([]bool, len(rc.table))
	return disk.OnAllCores(ctx, len(rc.table), func(i int) error {
		b := rc.table[i].blob()
		size, ok := rc.store.Stat(b.Digest)
		known := ok && size == b.Size
		if known && rc.hello.flags&flagVerify != 0 {
			var err error
			if known, err = rc.store.Intact(ctx, b, nil); err != nil {
				return err
			}
		}
		rc.missing[i] = !known || rc.hello.flags&flagAll != 0
		return nil
	})
}

func (rc *receiver) dryRun() error {
	err := rc.ask(func(i int) int64 { return rc.store.PartialSize(rc.table[i].blob()) })
	if err != nil {
		return err
	}
	if err := rc.w.write(frameDone, encodeReceipt(rc.receipt)); err != nil {
		return err
	}
	return rc.w.flush()
}

// ask tells the sender what is missing and how much of it is there.
func (rc *receiver) ask(offset func(i int) int64) error {
	spans := spansOf(len(rc.table), func(i int) (bool, int64) {
		if !rc.missing[i] {
			return false, 0
		}
		return true, offset(i)
	})
	for _, f := range encodeSpans(0, spans) {
		if err := rc.w.write(frameMissing, f); err != nil {
			return err
		}
	}
	if err := rc.w.write(frameAsked, nil); err != nil {
		return err
	}
	return rc.w.flush()
}

// rounds asks for blobs and takes them until nothing is missing. Blobs that arrive damaged are asked for again: mostly a power cut
// has spoilt a partial blob.
func (rc *receiver) rounds(ctx context.Context) error {
	rc.holdPartials()
	rc.count()
	for round := 0; ; {
		if err := rc.ask(rc.held); err != nil {
			return err
		}
		left := rc.left()
		if left == 0 {
			return nil
		}
		if round == maxRounds {
			return fmt.Errorf("%s damaged each time", count.Of(left, "blob arrives", "blobs arrive"))
		}
		peers, err := rc.peers()
		if err == nil && peers == nil {
			round++
			err = rc.receiveBlobs(ctx)
		} else if err == nil {
			rc.others.Store(true)
			quiet := rc.tellTaken(ctx)
			err = rc.fetch(ctx, peers)
			quiet()
			rc.others.Store(false)
		}
		if err != nil {
			return err
		}
		if err := rc.store.Sync(); err != nil {
			return err
		}
	}
}

// peers reads the list of relays, if the round is one of those in which blobs come from there.
func (rc *receiver) peers() ([]relayInfo, error) {
	t, err := rc.r.peek()
	if err != nil || t != framePeers || rc.relay == nil || rc.asked {
		return nil, err
	}
	rc.asked = true // once a session
	payload, err := rc.r.expect(framePeers)
	if err != nil {
		return nil, err
	}
	return decodePeers(payload)
}

func (rc *receiver) left() (n int) {
	for _, m := range rc.missing {
		if m {
			n++
		}
	}
	return n
}

func (rc *receiver) count() {
	for i, e := range rc.table {
		if rc.missing[i] {
			rc.receipt.BlobsMissing++
			rc.receipt.BytesMissing += e.size - rc.held(i)
			rc.receipt.BytesResumed += rc.held(i)
		} else {
			rc.receipt.BlobsKnown++
			rc.receipt.BytesKnown += e.size
		}
	}
}
