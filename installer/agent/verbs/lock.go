package verbs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// A call that does not end holds the lock of a host: the kernel's lock on a file, which ends with this process. The installer
// sends a sign of life every few seconds. Without one for lockPatience the call ends itself, so that an installer without power
// or network does not block others for longer, and no lock is ever stale.
const lockPatience = 30 * time.Second

const maxHolder = 4 << 10 // bytes

// lock holds a lock for as long as the installer gives signs of life.
func (m machine) lock(ctx context.Context, q agent.LockRequest, c *call) (any, error) {
	if err := files.CheckPath(q.Path); err != nil {
		return nil, err
	}
	if len(q.Holder) > maxHolder {
		return nil, &agent.Error{Code: agent.CodeRefused, Message: "lock: the holder's name is too long"}
	}
	f, err := acquire(m.Path(q.Path))
	if err != nil {
		return nil, err
	}
	defer func() {
		// The file is removed while the lock is held: a process that waits for the file finds it gone, and makes a new one.
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
	return struct{}{}, aliveFor(ctx, c, patience, func(step string) {
		text := q.Holder + "\n" + step + "\n"
		if _, err := f.WriteAt([]byte(text), 0); err == nil { // who reads it in this moment may find the end of the step before
			_ = f.Truncate(int64(len(text)))
		}
	})
}

// firstLine is the holder in the text of a lock's file; after it comes the step.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}

// aliveFor returns nil when the installer ends the call, and an error when the installer gives no sign of life. A sign of life is
// a line; one that is not empty is the step at which the installer works, which says is told.
func aliveFor(ctx context.Context, c *call, patience time.Duration, says func(step string)) error {
	beat := make(chan error)
	go func() {
		for {
			line, err := agent.ReadLine(c.in, maxHolder)
			if err == nil && len(line) > 0 {
				says(string(line))
			}
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
			return agent.ErrCut
		case <-timer.C:
			go func() { <-beat }() // ends the reader, whose pipe closes now
			return &agent.Error{Code: agent.CodeCut, Message: fmt.Sprintf("no sign of life of the installer for %s: the lock is given up", patience)}
		case err := <-beat:
			if err != nil {
				return nil
			}
			timer.Reset(patience)
		}
	}
}

// acquire opens and locks a file. It begins anew if the file was removed between the two.
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
			return nil, &agent.Error{Code: agent.CodeLocked, Message: firstLine(string(holder[:n]))}
		}
		mine, err := f.Stat()
		there, err2 := os.Stat(path)
		if err == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		_ = f.Close()
	}
}
