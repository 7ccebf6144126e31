package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// A lock of a host is held by a call that does not end: the kernel's lock on a
// file of this process, which ends with the process. The installer sends a sign
// of life every lockBeat; without one for lockPatience the call ends itself, so
// that an installer that lost its power or its network holds nobody up for
// longer, and no lock is ever stale.
const (
	lockBeat     = 5 * time.Second
	lockPatience = 30 * time.Second
)

type lockRequest struct {
	Path   string `json:"path"`
	Holder string `json:"holder"`
	// PatienceMillis replaces lockPatience when it is not 0.
	PatienceMillis int `json:"patienceMillis,omitempty"`
}

const maxHolder = 4 << 10 // bytes

// lock holds a lock for as long as the installer gives signs of life.
func (m machine) lock(ctx context.Context, q lockRequest, c *call) (any, error) {
	if err := checkPath(q.Path); err != nil {
		return nil, err
	}
	if len(q.Holder) > maxHolder {
		return nil, &Error{Code: CodeRefused, Message: "lock: the holder's name is too long"}
	}
	f, err := acquire(m.path(q.Path))
	if err != nil {
		return nil, err
	}
	defer func() {
		// Removed while it is held: who waits for this file finds it gone, and takes the next.
		_ = os.Remove(f.Name())
		_ = f.Close()
	}()
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock %s: %w", q.Path, err)
	}
	if _, err := f.WriteAt([]byte(q.Holder), 0); err != nil {
		return nil, fmt.Errorf("lock %s: %w", q.Path, err)
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	patience := lockPatience
	if q.PatienceMillis > 0 {
		patience = time.Duration(q.PatienceMillis) * time.Millisecond
	}
	return struct{}{}, aliveFor(ctx, c, patience)
}

// aliveFor returns nil when the installer ends the call, and an error when it is not heard of.
func aliveFor(ctx context.Context, c *call, patience time.Duration) error {
	beat := make(chan error)
	go func() {
		var b [1]byte
		for {
			_, err := c.in.Read(b[:])
			select {
			case beat <- err:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer c.end.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return errCut
		case <-timer.C:
			go func() { <-beat }() // ends the reader, whose pipe closes now
			return &Error{Code: CodeCut, Message: fmt.Sprintf("no sign of life of the installer for %s: the lock is given up", patience)}
		case err := <-beat:
			if err != nil {
				return nil
			}
			timer.Reset(patience)
		}
	}
}

// acquire opens and locks a file. Between the two somebody may have removed it.
func acquire(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			holder := make([]byte, maxHolder)
			n, _ := f.ReadAt(holder, 0) // its name is for the message
			_ = f.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock %s: %w", path, err)
			}
			return nil, &Error{Code: CodeLocked, Message: strings.TrimSpace(string(holder[:n]))}
		}
		mine, err := f.Stat()
		there, err2 := os.Stat(path)
		if err == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		_ = f.Close()
	}
}

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
	return a.lockWithin(asking, life, lockRequest{Path: path, Holder: holder}, lockBeat)
}

func (a *Agent) lockFor(ctx context.Context, q lockRequest, every time.Duration) (*Lock, error) {
	return a.lockWithin(ctx, ctx, q, every)
}

func (a *Agent) lockWithin(asking, life context.Context, q lockRequest, every time.Duration) (*Lock, error) {
	ctx, cancel := context.WithCancelCause(life)
	s, err := a.open(ctx, verbLock, q, nil)
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
		return nil, a.blame(verbLock, context.Cause(asking))
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
		l.lost <- a.blame(verbLock, err)
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
