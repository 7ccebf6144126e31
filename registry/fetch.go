package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/ground/wait"
)

const (
	fetchesAtOnce = 4               // blobs under way from a peer
	relayPatience = 3 * time.Second // for a connection, an answer to HEAD; and between looks at how a transfer goes
	slowBacklog   = 8 << 20         // bytes a peer must be ahead to be called slow
	slowRate      = 1 << 20         // bytes a second that every link should carry
)

// errSlow is why a peer was left that is not dead.
var errSlow = errors.New("the peer has more than it sends")

// fetcher takes missing blobs from peers. A peer that fails or is slow is left for the next one, for the rest of the session;
// what no peer gave is asked of the sender, from the byte where it stopped.
type fetcher struct {
	rc      *receiver
	peers   []relayInfo
	clients []*http.Client
	current atomic.Int64 // the peer in use; those before it were left
	commits *committer

	mu sync.Mutex // over what the blobs under way share: the session's partial blobs, the batch of the committer
}

// fetch gets what is missing from peers as far as they give it. Only trouble with this host's own disk is an error.
func (rc *receiver) fetch(ctx context.Context, peers []relayInfo) error {
	f := &fetcher{rc: rc, peers: peers}
	for _, p := range peers {
		c := p.client(rc.store.Dial)
		defer c.CloseIdleConnections()
		f.clients = append(f.clients, c)
	}
	var todo []int
	for i, missing := range rc.missing {
		if missing {
			todo = append(todo, i)
		}
	}
	commits, cctx := newCommitter(ctx, rc)
	f.commits = commits
	named := make(chan struct{})
	go func() {
		defer close(named)
		for i := range commits.named {
			rc.receipt.BlobsPassed++
			rc.missing[i] = false
			rc.relay.ends(i)
		}
	}()
	g, gctx := errgroup.WithContext(cctx)
	var next atomic.Int64
	for range fetchesAtOnce {
		g.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(todo) || f.current.Load() >= int64(len(peers)) {
					return nil
				}
				if err := f.blob(gctx, todo[n]); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	if cerr := commits.close(); cerr != nil {
		err = cerr
	}
	<-named
	rc.receipt.BytesPassed = rc.fetched.Load()
	return err
}

// transfer is a blob on its way from peers.
type transfer struct {
	i    int
	in   *incoming // nil before its first byte
	hash hash.Hash
	at   atomic.Int64
}

func (f *fetcher) blob(ctx context.Context, i int) error {
	t := &transfer{i: i, hash: sha256.New()}
	size := f.rc.table[i].size
	for {
		n := f.current.Load()
		if n >= int64(len(f.peers)) {
			return f.putBack(t)
		}
		err := f.from(ctx, int(n), t)
		if ctx.Err() != nil {
			return errors.Join(f.putBack(t), ctx.Err())
		}
		var own *diskError
		if errors.As(err, &own) {
			return errors.Join(err, f.putBack(t))
		}
		if err == nil && t.at.Load() == size {
			if [sha256.Size]byte(t.hash.Sum(nil)) == f.rc.table[i].key {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.commits.add(t.in)
				return nil
			}
			os.Remove(t.in.path)
			t.in.file.Close()
			f.rc.relay.drops(i)
			t = &transfer{i: i, hash: sha256.New()}
		}
		f.current.CompareAndSwap(n, n+1)
	}
}

// diskError marks trouble with this host's own files.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

// open takes the file of a blob, with what an interrupted session left in it.
func (f *fetcher) open(ctx context.Context, t *transfer) error {
	f.mu.Lock()
	in, err := f.rc.create(t.i)
	f.mu.Unlock()
	if err != nil {
		return &diskError{fmt.Errorf("make partial blob: %w", err)}
	}
	t.in = in
	if in.size > 0 {
		r := &watchedReader{ctx: ctx, r: io.NewSectionReader(in.file, 0, in.size)}
		if n, err := io.Copy(t.hash, r); err != nil || n != in.size {
			return &diskError{fmt.Errorf("read partial blob, %d of %d bytes: %w", n, in.size, err)}
		}
		if _, err := in.file.Seek(in.size, io.SeekStart); err != nil {
			return &diskError{fmt.Errorf("seek in partial blob: %w", err)}
		}
	}
	t.at.Store(in.size)
	f.rc.relay.begins(t.i, in.path, in.size)
	return nil
}

// putBack keeps what came of a blob for the sender to go on with.
func (f *fetcher) putBack(t *transfer) error {
	if t.in == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.in.size = t.at.Load()
	f.rc.partial[t.i] = t.in
	return nil
}

// from takes the rest of a blob from one peer.
func (f *fetcher) from(ctx context.Context, n int, t *transfer) error {
	if t.in == nil {
		if err := f.open(ctx, t); err != nil {
			return err
		}
	}
	size := f.rc.table[t.i].size
	if t.at.Load() == size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q, err := f.peers[n].request(ctx, http.MethodGet, f.rc.table[t.i].key.digest())
	if err != nil {
		return err
	}
	want := http.StatusOK
	if at := t.at.Load(); at > 0 {
		q.Header.Set("Range", "bytes="+strconv.FormatInt(at, 10)+"-")
		want = http.StatusPartialContent
	}
	go f.watch(ctx, cancel, n, t)
	resp, err := f.clients[n].Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want || resp.ContentLength != size-t.at.Load() {
		return fmt.Errorf("the peer answers %s with %d bytes", resp.Status, resp.ContentLength)
	}
	buf := make([]byte, relayPiece)
	for t.at.Load() < size {
		k, err := io.ReadFull(resp.Body, buf[:min(int64(len(buf)), size-t.at.Load())])
		if k > 0 {
			if _, werr := t.in.file.Write(buf[:k]); werr != nil {
				return &diskError{fmt.Errorf("write blob: %w", werr)}
			}
			t.hash.Write(buf[:k])
			t.at.Add(int64(k))
			f.rc.relay.grows(t.i, k)
			f.rc.fetched.Add(int64(k))
		}
		if err != nil && t.at.Load() < size {
			return noEOF(err)
		}
	}
	return nil
}

// watch ends a transfer that goes badly through the fault of the peer: one that does not say how far it is, or has what it does
// not send, or is far ahead and twice in a row gave this host much less than it got itself. A peer that waits itself is waited
// for.
func (f *fetcher) watch(ctx context.Context, cancel context.CancelCauseFunc, n int, t *transfer) {
	at, mine := t.at.Load(), f.rc.fetched.Load()
	theirs, slow := int64(-1), 0
	for range wait.Every(ctx, relayPatience) {
		have, total, err := f.have(ctx, n, t.i)
		if err != nil {
			cancel(fmt.Errorf("the peer does not answer: %w", err))
			return
		}
		_, here, _ := f.rc.relay.look(t.i)
		got := f.rc.fetched.Load() - mine
		stands := t.at.Load() == at && have > at
		if have > t.at.Load() && total-here > slowBacklog && (got < slowRate*int64(relayPatience/time.Second) || theirs >= 0 && total-theirs > 2*got) {
			slow++
		} else {
			slow = 0
		}
		if stands || slow == 2 {
			cancel(errSlow)
			return
		}
		at, mine, theirs = t.at.Load(), f.rc.fetched.Load(), total
	}
}

// have asks a peer how many bytes it has of a blob, and of all.
func (f *fetcher) have(ctx context.Context, n, i int) (blob, total int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayPatience)
	defer cancel()
	q, err := f.peers[n].request(ctx, http.MethodHead, f.rc.table[i].key.digest())
	if err != nil {
		return 0, 0, err
	}
	resp, err := f.clients[n].Do(q)
	if err != nil {
		return 0, 0, err
	}
	resp.Body.Close()
	if blob, err = strconv.ParseInt(resp.Header.Get(haveHeader), 10, 64); err != nil {
		return 0, 0, err
	}
	total, err = strconv.ParseInt(resp.Header.Get(totalHeader), 10, 64)
	return blob, total, err
}
