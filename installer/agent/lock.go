package agent

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// lockBeat is how often the holder of a lock gives a sign of life.
const lockBeat = 5 * time.Second

// Lock is a lock on a host that the installer holds.
type Lock struct {
	s    *session
	stop context.CancelFunc
	lost chan error

	saying sync.Mutex // held while a step is written
	mu     sync.Mutex
	step   string
}

// Lock takes the lock on the file at path on the host. The file exists as long as the lock; it holds holder, for others to
// read, and in a second line the step that [Lock.Say] told. If another holds the lock, the error is an *Error with CodeLocked,
// whose message is that holder. The lock ends with Release, with this process, with ctx, or when the host hears nothing from the
// installer for half a minute.
func (a *Agent) Lock(ctx context.Context, path, holder string) (*Lock, error) {
	return a.LockAsking(ctx, ctx, path, holder)
}

// LockAsking is [Agent.Lock] with two contexts: the lock lasts as long as life, and the wait for it as long as asking. When
// asking ends the call returns, whatever the host does.
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
		cancel(context.Cause(asking)) // the host is told to end the call; its answer is not waited for
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

// Say tells the host the step at which the holder works, for others to read; it is one line. It does not wait for the host, which
// may hang. A stub of an older version takes it for a sign of life.
func (l *Lock) Say(step string) {
	l.mu.Lock()
	l.step = strings.Join(strings.Fields(step), " ")
	l.mu.Unlock()
	go func() {
		l.saying.Lock()
		defer l.saying.Unlock()
		l.mu.Lock()
		line := l.step // the newest, whichever goroutine writes first
		l.mu.Unlock()
		_, _ = io.WriteString(l.s.in, line+"\n") // a lock that ends tells why by itself
	}()
}

// Lost receives the reason if the lock ends before Release. After Release it has no meaning.
func (l *Lock) Lost() <-chan error { return l.lost }

// Release gives the lock back, and waits until the host has done so.
func (l *Lock) Release() {
	l.stop()
	_ = l.s.in.Close()
	select {
	case <-l.s.ended:
	case <-time.After(lockBeat): // the connection hangs; the host gives the lock up by itself
	}
	l.s.cancel(nil)
}
