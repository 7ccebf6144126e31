// Package copies puts files and directories on a host that an operator copies there. Their content comes into a store beside the
// destination first, as that of images comes into a registry: verified, from other hosts too, and gone on with after a break. Then
// it gets its names.
package copies

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// place is where a copy goes on this host. All paths are as this process sees them.
type place struct {
	to    string // without a link at its end
	fresh bool   // a directory that is not there
	root  string // of the store
	store *disk.Store
}

func refused(remedy, format string, args ...any) error {
	return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// find looks at the destination. The store lies on its file system: beside a file and a directory that is to be, in a directory
// that is there, since something may be mounted on it.
func find(m files.Machine, q agent.CopyRequest) (place, error) {
	if err := files.CheckPath(q.To); err != nil || q.To == "/" {
		return place{}, refused("", "destination %q: want a clean absolute path", q.To)
	}
	if len(q.Entries) == 0 || q.Entries[0].Path != "." {
		return place{}, refused("", "the first entry is not the destination")
	}
	for _, e := range q.Entries[1:] {
		if !fs.ValidPath(e.Path) || e.Path == "." {
			return place{}, refused("", "entry %q is not below the destination", e.Path)
		}
	}
	p := place{to: m.Path(q.To)}
	info, err := os.Stat(p.to)
	switch {
	case err == nil:
		if p.to, err = filepath.EvalSymlinks(p.to); err != nil {
			return place{}, err
		}
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(p.to)
		if up, err := os.Stat(parent); err != nil || !up.IsDir() {
			return place{}, refused("make it first: sealinstall exec -- mkdir -p "+path.Dir(q.To), "there is no directory %s", path.Dir(q.To))
		}
		if _, err := os.Lstat(p.to); err == nil {
			return place{}, refused("remove the link first", "%s is a link that leads nowhere", q.To)
		}
	default:
		return place{}, err
	}
	parent := filepath.Dir(p.to)
	wantDir := q.Entries[0].Mode.IsDir()
	switch {
	case info != nil && wantDir && !info.IsDir():
		return place{}, refused("name another destination", "%s is there and is no directory", q.To)
	case info != nil && !wantDir && info.IsDir():
		return place{}, refused("to put the file into it, name it "+q.To+"/", "%s is a directory", q.To)
	case info != nil && wantDir:
		parent = p.to
	case wantDir:
		p.fresh = true
	}
	sum := sha256.Sum256([]byte(q.To))
	p.root = filepath.Join(parent, fmt.Sprintf(".sealinstall-copy-%x", sum[:6]))
	p.store = disk.Open(p.root)
	return p, nil
}

// path is where an entry lies.
func (p place) path(e agent.CopyEntry) string { return filepath.Join(p.to, filepath.FromSlash(e.Path)) }

func (p place) blob(d digest.Digest) string { return p.store.Path(disk.BlobData(d)) }

// Prepare makes the store of a copy, and takes into it what the destination has already.
func Prepare(ctx context.Context, m files.Machine, q agent.CopyRequest) (agent.CopyPlace, error) {
	p, err := find(m, q)
	if err != nil {
		return agent.CopyPlace{}, err
	}
	res := agent.CopyPlace{Store: strings.TrimPrefix(p.root, m.Root)}
	if err := p.conflicts(m, q); err != nil {
		return res, err
	}
	if err := os.Mkdir(p.root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return res, err
	}
	p.dropShared(q)
	for _, e := range q.Entries {
		if !e.Mode.IsRegular() || p.fresh {
			continue
		}
		same, err := p.seed(ctx, e)
		if err != nil {
			return res, err
		}
		if same {
			res.Same++
		}
	}
	return res, p.room(q)
}

// conflicts finds what is of another kind than the entry that has its name. Nothing is deleted, so it stands in the way.
func (p place) conflicts(m files.Machine, q agent.CopyRequest) error {
	if p.fresh {
		return nil
	}
	for _, e := range q.Entries[1:] {
		name := p.path(e)
		info, err := os.Lstat(name)
		if err != nil {
			continue // absent, or below something that is
		}
		own := strings.TrimPrefix(name, m.Root)
		switch {
		case e.Mode.IsDir() && !info.IsDir():
			if to, err := os.Stat(name); err != nil || !to.IsDir() { // a link to a directory is one
				return refused("remove it first", "%s is there and is no directory", own)
			}
		case !e.Mode.IsDir() && info.IsDir():
			return refused("remove it first", "%s is a directory", own)
		}
	}
	return nil
}

// dropShared removes content that an interrupted copy shares with a file of the destination: that may have been changed since.
func (p place) dropShared(q agent.CopyRequest) {
	for _, e := range q.Entries {
		if e.Digest == "" {
			continue
		}
		var st unix.Stat_t
		if name := p.blob(e.Digest); unix.Lstat(name, &st) == nil && st.Nlink > 1 {
			_ = os.Remove(name) // one that stays is replaced by nothing worse: its content is compared below
		}
	}
}

// seed takes a file of the destination into the store if it has the content of the entry, and tells whether it has.
func (p place) seed(ctx context.Context, e agent.CopyEntry) (bool, error) {
	name := p.path(e)
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != e.Size {
		return false, nil
	}
	if e.Size == 0 {
		return true, nil
	}
	if same, err := holds(ctx, name, e.Digest); err != nil || !same {
		return false, err
	}
	blob := p.blob(e.Digest)
	if err := os.MkdirAll(filepath.Dir(blob), 0o700); err != nil {
		return false, err
	}
	err = os.Link(name, blob)
	if errors.Is(err, unix.EXDEV) { // another file system below the destination
		err = duplicate(name, blob)
	}
	return err == nil || errors.Is(err, fs.ErrExist), nil // what is not in the store is sent
}

// duplicate copies a file.
func duplicate(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := durable.Create(to, tempPrefix)
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := io.Copy(out.File, in); err != nil {
		return err
	}
	return out.Commit(0o600)
}

// holds tells whether a file has the content of a digest.
func holds(ctx context.Context, name string, d digest.Digest) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, disk.Watched(ctx, f, nil)); err != nil {
		return false, err
	}
	return fmt.Sprintf("%x", h.Sum(nil)) == d.Encoded(), nil
}

// spare is what a disk keeps free beside a copy, in bytes.
const spare = 16 << 20

// room refuses a copy for which the disk has no room.
func (p place) room(q agent.CopyRequest) error {
	need, seen := int64(0), map[digest.Digest]bool{}
	for _, e := range q.Entries {
		if e.Digest == "" {
			continue
		}
		if !seen[e.Digest] {
			if _, there := p.store.Stat(e.Digest); !there {
				need += e.Size - p.store.PartialSize(catalog.Blob{Digest: e.Digest, Size: e.Size})
			}
		} else {
			need += e.Size // the second file of one content is a copy
		}
		seen[e.Digest] = true
	}
	var st unix.Statfs_t
	if need == 0 || unix.Statfs(p.root, &st) != nil {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; free < need+spare {
		return refused("make room there", "the copy needs %s, and the disk of %s has %s free",
			humanize.IBytes(uint64(need)), filepath.Dir(p.root), humanize.IBytes(uint64(free)))
	}
	return nil
}
