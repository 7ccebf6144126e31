package host

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// Standstill is how long a transfer may go without any sign that it moves. A slow line still moves. If nothing moves for so
// long, the line is dead or the host takes nothing.
const Standstill = time.Minute

// StandstillError is a transfer that was ended because nothing moved.
type StandstillError struct {
	Host string
	What string // that was being sent
	Sent int64  // bytes of it that the host had taken
	For  time.Duration
	// Here tells that this machine gave nothing to send; else the host took nothing and gave no sign of life.
	Here bool
}

func (e *StandstillError) Error() string {
	who := "the host took nothing more and gave no sign of life (look at its disk, its load, and the line to it)"
	if e.Here {
		who = "this machine could read no more of it (look at the disk or the mount where the bundle lies)"
	}
	return fmt.Sprintf("%s: send %s: nothing moved for %s, after %s: %s", e.Host, e.What, e.For, humanize.IBytes(uint64(max(0, e.Sent))), who)
}

// Watch ends a transfer that stands still.
type Watch struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer

	mu    sync.Mutex
	err   StandstillError
	fired bool
	over  bool
}

// WatchTransfer gives a context that ends with a *StandstillError when nobody calls Sent for as long as patience; 0 means
// [Standstill]. The caller must stop the watch.
func WatchTransfer(ctx context.Context, patience time.Duration, host, what string) (context.Context, *Watch) {
	if patience <= 0 {
		patience = Standstill
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &Watch{cancel: cancel, err: StandstillError{Host: host, What: what, For: patience}}
	w.timer = time.AfterFunc(patience, w.fire)
	return ctx, w
}

func (w *Watch) fire() {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	w.fired = true
	err := w.err
	w.mu.Unlock()
	w.cancel(&err)
}

// Sent tells the watch that the host has taken n more bytes; 0 is a mere sign of life.
func (w *Watch) Sent(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err.Sent += int64(n)
	if !w.over && !w.fired {
		w.timer.Reset(w.err.For)
	}
}

// Reading tells the watch that this machine begins, or ends, to wait for what it is to send.
func (w *Watch) Reading(begins bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err.Here = begins
}

// Err is the *StandstillError that ended the transfer, or nil.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fired {
		return nil
	}
	err := w.err
	return &err
}

// Stop ends the watch, and with it the context.
func (w *Watch) Stop() {
	w.mu.Lock()
	w.over = true
	w.timer.Stop()
	w.mu.Unlock()
	w.cancel(nil)
}

// Source wraps what is sent. Each read tells the watch that the piece before was taken. On a slow line a large piece would take
// longer than the patience, so pieces become smaller there.
func (w *Watch) Source(r io.Reader) io.Reader { return &watchedSource{w: w, r: r} }

type watchedSource struct {
	w     *Watch
	r     io.Reader
	last  int       // bytes of the piece before
	at    time.Time // when that piece was given
	limit int       // of a piece in bytes; 0 means none
}

const (
	slowPiece  = 5 * time.Second
	smallPiece = 4 << 10
	fastPiece  = 256 << 10
)

func (s *watchedSource) Read(p []byte) (int, error) {
	s.w.Sent(s.last)
	switch took := time.Since(s.at); {
	case s.last == 0:
	case took > slowPiece:
		s.limit = max(smallPiece, s.last/4)
	case s.limit > 0 && took < slowPiece/5:
		if s.limit *= 2; s.limit >= fastPiece {
			s.limit = 0
		}
	}
	if s.limit > 0 {
		p = p[:min(len(p), s.limit)]
	}
	n, err := s.r.Read(p)
	s.last, s.at = n, time.Now()
	s.w.Sent(0)
	return n, err
}

// Signs wraps what receives the host's output. Each write is a sign of life.
func (w *Watch) Signs(to io.Writer) io.Writer { return &watchedSigns{w, to} }

type watchedSigns struct {
	w  *Watch
	to io.Writer
}

func (s *watchedSigns) Write(p []byte) (int, error) {
	s.w.Sent(0)
	return s.to.Write(p)
}
