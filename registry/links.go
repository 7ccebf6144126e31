package registry

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

// linkWriter writes link files in batches: all aside, one sync, all renamed, one sync. A link that is right already is not
// touched, so that a second run writes nothing.
type linkWriter struct {
	session *session
	root    *os.File // of the store: paths from there are short ones for the kernel
	staged  []stagedLink
	written int
	made    map[string]bool // directories known to exist
}

type stagedLink struct{ temp, path string }

// linkFile is a file at a slash-separated path of the layout, and what it says.
type linkFile struct {
	path   string
	digest digest.Digest
}

func newLinkWriter(x *session) (*linkWriter, error) {
	root, err := os.Open(x.store.root)
	if err != nil {
		return nil, fmt.Errorf("write links: %w", err)
	}
	return &linkWriter{session: x, root: root, made: map[string]bool{}}, nil
}

func (l *linkWriter) close() { l.root.Close() }

// add looks at links, many at once, and stages those that are not right.
func (l *linkWriter) add(ctx context.Context, links []linkFile) error {
	right := make([]bool, len(links))
	err := onAllCores(ctx, len(links), func(i int) error {
		right[i] = linkHoldsAt(int(l.root.Fd()), links[i].path, links[i].digest)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write links: %w", err)
	}
	for i, link := range links {
		if right[i] {
			continue
		}
		temp := l.session.temp()
		if err := os.WriteFile(temp, []byte(link.digest), 0o644); err != nil {
			return fmt.Errorf("write link: %w", err)
		}
		l.staged = append(l.staged, stagedLink{temp, l.session.store.path(link.path)})
		if len(l.staged) < maxStagedLinks {
			continue
		}
		if err := l.commit(); err != nil {
			return err
		}
	}
	return nil
}

// commit puts the staged links in place, durably.
func (l *linkWriter) commit() error {
	if len(l.staged) == 0 {
		return nil
	}
	store := l.session.store
	if err := store.sync(); err != nil {
		return err
	}
	for _, link := range l.staged {
		if err := l.rename(link); err != nil {
			return fmt.Errorf("write link: %w", err)
		}
		l.written++
	}
	l.staged = l.staged[:0]
	return store.sync()
}

func (l *linkWriter) rename(link stagedLink) error {
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

// linkHolds says whether the link file names d. Anything unreadable does not.
func linkHolds(path string, d digest.Digest) bool { return linkHoldsAt(unix.AT_FDCWD, path, d) }

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
