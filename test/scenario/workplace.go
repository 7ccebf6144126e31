package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// workplace is a directory of one run, below the cache that all runs share. It
// is held by a lock as long as the process lives, so that a later run can tell
// what a killed one left from what is in use.
type workplace struct {
	dir  string
	held *os.File
}

// newWorkplace makes one, and removes those whose process is gone; end ends what
// such a process left running.
func newWorkplace(cache string, end func(dir string) error) (_ *workplace, err error) {
	runs := filepath.Join(cache, "runs")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, err
	}
	// Nobody may sweep between the making of a directory and its lock.
	all, err := os.Open(runs)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if err := unix.Flock(int(all.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", runs, err)
	}
	left, err := filepath.Glob(filepath.Join(runs, "run-*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range left {
		held, err := lockNow(dir)
		if err != nil {
			return nil, err
		}
		if held != nil {
			if err := errors.Join(end(dir), os.RemoveAll(dir), held.Close()); err != nil {
				return nil, fmt.Errorf("remove what an earlier run left: %w", err)
			}
		}
	}
	w := &workplace{}
	if w.dir, err = os.MkdirTemp(runs, "run-"); err != nil {
		return nil, err
	}
	if w.held, err = lockNow(w.dir); err != nil || w.held == nil {
		return nil, errors.Join(fmt.Errorf("lock %s", w.dir), err)
	}
	return w, nil
}

func (w *workplace) path(name string) string { return filepath.Join(w.dir, name) }

// remove ends it, once.
func (w *workplace) remove() error {
	if w == nil || w.held == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(w.dir), w.held.Close())
	w.held = nil
	return err
}

// lockNow locks a file or directory; nil when somebody else holds it.
func lockNow(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// oneBuilds waits until no other run builds from this cache: programs, fetched
// files and images lie where all runs have them. done lets the next one begin.
func oneBuilds(ctx context.Context, cache string) (done func() error, err error) {
	path := filepath.Join(cache, ".scenario-build.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	for {
		held, err := lockNow(path)
		if err != nil {
			return nil, err
		}
		if held != nil {
			return held.Close, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another run builds: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
