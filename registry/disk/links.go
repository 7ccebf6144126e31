package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// maxStagedLinks bounds what is written aside before it is renamed: memory, and inodes of the session directory.
const maxStagedLinks = 16384

// LinkWriter writes link files in batches: all aside, one sync, all renamed, one sync. A link that is right already is not
// touched, so that a second run writes nothing.
type LinkWriter struct {
	session *Session
	root    *os.File // of the store: paths from there are short ones for the kernel
	staged  []stagedLink
	Written int
	made    map[string]bool // directories known to exist
}

type stagedLink struct{ temp, path string }

// Link is a file at a slash-separated path of the layout, and what it says.
type Link struct {
	Path   string
	Digest digest.Digest
}

// NewLinkWriter returns the writer of a session. It is to be closed.
func NewLinkWriter(x *Session) (*LinkWriter, error) {
	root, err := os.Open(x.store.root)
	if err != nil {
		return nil, fmt.Errorf("write links: %w", err)
	}
	return &LinkWriter{session: x, root: root, made: map[string]bool{}}, nil
}

// Close ends the writing. What was added and not committed is not written.
func (l *LinkWriter) Close() { l.root.Close() }

// Add looks at links, many at once, and stages those that are not right.
func (l *LinkWriter) Add(ctx context.Context, links []Link) error {
	right := make([]bool, len(links))
	err := OnAllCores(ctx, len(links), func(i int) error {
		right[i] = linkHoldsAt(int(l.root.Fd()), links[i].Path, links[i].Digest)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write links: %w", err)
	}
	for i, link := range links {
		if right[i] {
			continue
		}
		temp := l.session.Temp()
		if err := os.WriteFile(temp, []byte(link.Digest), 0o644); err != nil {
			return fmt.Errorf("write link: %w", err)
		}
		l.staged = append(l.staged, stagedLink{temp, l.session.store.Path(link.Path)})
		if len(l.staged) < maxStagedLinks {
			continue
		}
		if err := l.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// Commit puts the staged links in place, durably.
func (l *LinkWriter) Commit() error {
	if len(l.staged) == 0 {
		return nil
	}
	store := l.session.store
	if err := store.Sync(); err != nil {
		return err
	}
	for _, link := range l.staged {
		if err := l.rename(link); err != nil {
			return fmt.Errorf("write link: %w", err)
		}
		l.Written++
	}
	l.staged = l.staged[:0]
	return store.Sync()
}

func (l *LinkWriter) rename(link stagedLink) error {
	// "…/<repository>/_layers/sha256" is made once; the last directory is the link's own.
	dir := filepath.Dir(link.path)
	if parent := filepath.Dir(dir); !l.made[parent] {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		l.made[parent] = true
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(link.temp, link.path)
}

// LinkHolds says whether the link file names d. Anything unreadable does not.
func LinkHolds(path string, d digest.Digest) bool { return linkHoldsAt(unix.AT_FDCWD, path, d) }

// linkHoldsAt does so for a path below a directory. A session asks this of every link there is, so it takes three system calls
// and no more.
func linkHoldsAt(dir int, path string, d digest.Digest) bool {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [96]byte
	n, err := unix.Read(fd, buf[:])
	return err == nil && string(buf[:n]) == string(d)
}
