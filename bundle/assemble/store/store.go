// Package store is the builder's local image store: one content-addressed directory that is the cache of everything downloaded and
// the home of every cluster image built.
//
// On disk it is an OCI image layout, so other tools can read it:
//
//	oci-layout, index.json      the layout; index.json names the stored images
//	blobs/sha256/<hex>          every blob once, whatever it belongs to
//	fresh/<boot>/<hex>          marks of blobs that may not be on the disk yet
//	partial/<hex>               downloads that were cut; the next one goes on
//	images/<escaped name>.json  one Record per cluster image
//	tmp/                        directories of running sessions, one each
//	lock                        held shared by users, exclusively by removal
//
// It promises that a blob found under its digest was hashed before it got there, once, while it arrived. A power cut may take the
// bytes of what was written last: such blobs are marked before they have a name, below the name of the boot, and what an earlier
// boot marked is hashed again before it counts. Sync takes the marks away when the blobs are on the disk, all with one wait instead
// of one each. A killed run leaves nothing that counts as a blob and is not one, and what it left in tmp/ is removed by the next
// Open.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

const layoutText = `{"imageLayoutVersion":"1.0.0"}`

// Store is an open image store. It is safe for concurrent use, also by several processes.
type Store struct {
	root string
	base *Store // of a temporary store: where else to look

	deferred bool
	fresh    string // directory of this boot's marks
	lock     *os.File
	run      *session
	known    sync.Map // digest to size, of blobs that were seen
	hashed   sync.Map // digest to states, of blobs that came by Incoming
}

// DefaultRoot is where the store lies unless the operator says otherwise: $SEALBUILD_ROOT, else /var/lib/sealbuild for root, else
// $XDG_DATA_HOME/sealbuild.
func DefaultRoot() (string, error) {
	if root := os.Getenv("SEALBUILD_ROOT"); root != "" { //docs:env sealbuild SEALBUILD_ROOT: the image store, as `--root`
		return filepath.Abs(root)
	}
	if os.Geteuid() == 0 && os.Getenv("_CONTAINERS_ROOTLESS_UID") == "" {
		return "/var/lib/sealbuild", nil //docs:file builder /var/lib/sealbuild/: the image store and the cache of what was downloaded, for root; `--root` or `SEALBUILD_ROOT` names another
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) { //docs:env sealbuild XDG_DATA_HOME: where the image store of a user is below
		return filepath.Join(data, "sealbuild"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the image store's place: %w (set SEALBUILD_ROOT)", err)
	}
	return filepath.Join(home, ".local", "share", "sealbuild"), nil //docs:file builder ~/.local/share/sealbuild/: the same for other users, or below `XDG_DATA_HOME`
}

// Open opens the store at root, making it when it is not there, and removes what killed runs left behind.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	fresh := filepath.Join("fresh", boot())
	for _, dir := range []string{"blobs/sha256", "images", "partial", "tmp", fresh} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "oci-layout")); errors.Is(err, fs.ErrNotExist) {
		if err := durable.Write(filepath.Join(root, "oci-layout"), []byte(layoutText), 0o644); err != nil {
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{root: root, fresh: filepath.Join(root, fresh), lock: lock}
	if err := flock(lock, unix.LOCK_SH); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock image store %s: %w", root, err)
	}
	if s.run, err = newSession(filepath.Join(root, "tmp")); err != nil {
		_ = lock.Close()
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Root is the store's directory.
func (s *Store) Root() string { return s.root }

// TempDir makes an empty directory on the store's own filesystem. It is
// removed by Close, or by the next Open when this process is killed.
func (s *Store) TempDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp(s.run.dir, prefix+"-")
	if err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	return dir, nil
}

// Close waits until what came is on the disk (but see Defer), removes the session's temporary files and gives up the lock.
func (s *Store) Close() error {
	if s.base != nil {
		return errors.Join(s.run.close(), removeTree(s.root), s.lock.Close())
	}
	var err error
	if s.durable() {
		err = s.Sync()
	}
	return errors.Join(err, s.run.close(), s.lock.Close())
}

// blobPath is where a blob lies; d must be valid.
func (s *Store) blobPath(d digest.Digest) string {
	return filepath.Join(s.root, "blobs", string(d.Algorithm()), d.Encoded())
}

// flock takes a lock on a file, and tries again when a signal interrupts it.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
