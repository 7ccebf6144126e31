package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// session is one process's directory below tmp/. Its lock file tells others
// that the process is alive: the kernel drops the lock however it ends.
type session struct {
	dir  string
	lock *os.File
}

// newSession sweeps dead sessions out of tmp and starts one. The sweep runs under tmp's own lock, so that a session being started
// is never taken for a dead one.
func newSession(tmp string) (*session, error) {
	guard, err := os.OpenFile(filepath.Join(tmp, ".guard"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open session directory: %w", err)
	}
	defer func() { _ = guard.Close() }()
	if err := flock(guard, unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock session directory: %w", err)
	}
	if err := sweep(tmp); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(tmp, "run-")
	if err != nil {
		return nil, fmt.Errorf("make session directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make session directory: %w", err)
	}
	if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock session directory: %w", err)
	}
	return &session{dir: dir, lock: lock}, nil
}

// close removes the session's files.
func (s *session) close() error {
	return errors.Join(removeTree(s.dir), s.lock.Close())
}

// sweep removes the directories of sessions whose process is gone.
func sweep(tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "run-") {
			continue
		}
		dir := filepath.Join(tmp, e.Name())
		if alive(filepath.Join(dir, "alive")) {
			continue
		}
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	return nil
}

// alive tells whether some process holds the lock file.
func alive(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return flock(f, unix.LOCK_SH|unix.LOCK_NB) != nil
}

// removeTree removes dir. Mounts that a killed build left below it are detached first, and if one will not go, nothing is removed:
// what is mounted there is not ours.
func removeTree(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s left by an earlier run: %w", m, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	return nil
}

// mountsBelow lists mount points at or under dir, innermost first.
func mountsBelow(dir string) ([]string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var found []string
	for _, m := range slices.Backward(mounts) { // later mounts lie on earlier ones
		found = append(found, m.Mountpoint)
	}
	return found, nil
}
