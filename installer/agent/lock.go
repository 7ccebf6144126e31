package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// lockBeat is how often the holder of a lock gives a sign of life.
const lockBeat = 5 * time.Second

// Lock is a lock that is held on a host.
type Lock struct {
	s    *session
	stop context.CancelFunc
	lost chan error
}

// Lock takes the lock on the file at path on the host, which is made and goes
// away with the lock; holder says to others who holds it. One that is held
// already is an *Error with CodeLocked, whose message is the holder. The lock
// ends with Release, with this process, with ctx, or when the host does not hear
// of us for half a minute.
func (a *Agent) Lock(ctx context.Context, path, holder string) (*Lock, error) {
	return a.LockAsking(ctx, ctx, path, holder)
}

// LockAsking is [Agent.Lock] for a lock that lasts as long as life, but is waited for only as long as asking lasts:
// when that ends, so does the call, whatever the host does.
func (a *Agent) LockAsking(asking, life context.Context, path, holder string) (*Lock, error) {
	return a.lockWithin(asking, life, LockRequest{Path: path, Holder: holder}, lockBeat)
}

func (a *Agent) lockWithin(asking, life context.Context, q LockRequest, every time.Duration) (*Lock, error) {
	ctx, cancel := context.WithCancelCause(life)
	s, err := a.open(ctx, VerbLock, q, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	waiting := context.AfterFunc(asking, func() {
		cancel(context.Cause(asking)) // the host is told to end it, and nobody waits for that
		s.outEnd.CloseWithError(context.Cause(asking))
	})
	_, err = s.wants()
	if !waiting() {
		return nil, a.blame(VerbLock, context.Cause(asking))
	}
	if err != nil {
		defer cancel(nil)
		return nil, s.close(err)
	}
	beats, stop := context.WithCancel(ctx)
	l := &Lock{s: s, stop: stop, lost: make(chan error, 1)}
	go func() {
		for range wait.Every(beats, every) {
			if _, err := io.WriteString(s.in, "\n"); err != nil {
				return
			}
		}
	}()
	go func() {
		err := s.result(nil)
		if err == nil {
			err = errors.New("the host gave the lock up")
		}
		l.lost <- a.blame(VerbLock, err)
	}()
	return l, nil
}

// Lost gets the reason when the lock ends before its time; after Release it means nothing.
func (l *Lock) Lost() <-chan error { return l.lost }

// Release gives the lock back, and waits until the host has done so.
func (l *Lock) Release() {
	l.stop()
	_ = l.s.in.Close()
	select {
	case <-l.s.ended:
	case <-time.After(lockBeat): // the connection hangs; the host gives it up by itself
	}
	l.s.cancel(nil)
}
