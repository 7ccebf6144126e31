package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Sync makes every rename and every file written so far in the store's filesystem durable. Kernels before 5.8 do not report errors
// here, so file contents that must not be lost unnoticed are fsynced before, or asked for with WrittenBack after.
func (s *Store) Sync() error {
	f, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync store %s: %w", s.root, err)
	}
	return nil
}

// WrittenBack returns the error, if any, of writing a file's content since it was opened. It writes nothing itself.
func WrittenBack(f *os.File) error {
	err := unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EINVAL) {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("sync blob: %w", err)
	}
	return nil
}
