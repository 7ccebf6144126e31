package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A flock, unlike a pid, cannot be mistaken: the kernel drops it when its
// holder dies, however it died.

// lockFile waits for an exclusive lock on path.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	var f *os.File
	err = poll(ctx, 200*time.Millisecond, func() (bool, error) {
		f, err = tryLock(path)
		return f != nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// tryLock returns nil and no error when somebody else holds the lock.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, nil
	default:
		f.Close()
		return nil, err
	}
}
