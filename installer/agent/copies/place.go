package copies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// tempPrefix begins the names of files that have not got their own yet.
const tempPrefix = ".sealinstall-"

// Place gives what is in the store its names at the destination. The content stays in the store, under a second name of the same
// file: other hosts may still take it from there.
func Place(ctx context.Context, m files.Machine, q agent.CopyRequest) (agent.CopyResult, error) {
	p, err := find(m, q)
	if err != nil {
		return agent.CopyResult{}, err
	}
	w := placing{place: p}
	if p.fresh {
		w.to = filepath.Join(p.root, "new")
		if err := os.RemoveAll(w.to); err != nil { // of a copy that was cut off here
			return agent.CopyResult{}, err
		}
	}
	var res agent.CopyResult
	for _, e := range q.Entries {
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		changed, err := w.entry(ctx, e)
		if err != nil {
			return res, fmt.Errorf("put %s into its place: %w", strings.TrimPrefix(p.path(e), m.Root), err)
		}
		if changed {
			res.Changed++
		}
	}
	// The times of directories come last: every file in them changes those.
	for _, e := range slices.Backward(w.made) {
		if err := settle(w.path(e), e); err != nil {
			return res, err
		}
	}
	if err := syncAll(filepath.Dir(p.root)); err != nil {
		return res, err
	}
	if p.fresh {
		if err := durable.Rename(w.to, p.to); err != nil {
			return res, fmt.Errorf("give %s its name: %w", q.To, err)
		}
	}
	return res, nil
}

type placing struct {
	place
	made []agent.CopyEntry // directories that were not there
}

// entry makes one file, directory or link as it should be.
func (w *placing) entry(ctx context.Context, e agent.CopyEntry) (changed bool, err error) {
	name := w.path(e)
	switch {
	case e.Mode.IsDir():
		err := os.Mkdir(name, 0o700) // until all is in it
		if errors.Is(err, fs.ErrExist) {
			return false, nil // it stays as it is
		}
		w.made = append(w.made, e)
		return true, err
	case e.Mode&fs.ModeSymlink != 0:
		return w.link(name, e)
	}
	return w.file(ctx, name, e)
}

func (w *placing) link(name string, e agent.CopyEntry) (bool, error) {
	if to, err := os.Readlink(name); err == nil && to == e.Link {
		return false, nil
	}
	temp := filepath.Join(w.root, "link")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Symlink(e.Link, temp); err != nil {
		return false, err
	}
	err := os.Rename(temp, name)
	if errors.Is(err, unix.EXDEV) {
		if _, there := os.Lstat(name); there == nil {
			return false, err // on a file system below; nothing is deleted for a link
		}
		err = os.Symlink(e.Link, name)
	}
	return err == nil, err
}

// file gives a file its name in one step, with the owner of the one that it replaces.
func (w *placing) file(ctx context.Context, name string, e agent.CopyEntry) (bool, error) {
	before, err := os.Lstat(name)
	if err != nil {
		before = nil
	}
	same, err := w.has(ctx, name, before, e)
	if err != nil {
		return false, err
	}
	if same {
		if before.Mode().Perm() == e.Mode.Perm() && before.ModTime().UnixNano() == e.Time {
			return false, nil
		}
		return true, settle(name, e)
	}
	temp := filepath.Join(w.root, "file")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if e.Size > 0 && !w.shared(e) {
		if err := os.Link(w.blob(e.Digest), temp); err != nil {
			return false, err
		}
		keepOwner(temp, before)
		if err := settle(temp, e); err != nil {
			return false, err
		}
		err := os.Rename(temp, name)
		if !errors.Is(err, unix.EXDEV) {
			return err == nil, err
		}
	}
	return true, w.copied(ctx, name, before, e)
}

// has tells whether a file has its content already: it is the one in the store, or, on another file system, equal to it.
func (w *placing) has(ctx context.Context, name string, before os.FileInfo, e agent.CopyEntry) (bool, error) {
	if before == nil || !before.Mode().IsRegular() || before.Size() != e.Size {
		return false, nil
	}
	if e.Size == 0 {
		return true, nil
	}
	blob, err := os.Lstat(w.blob(e.Digest))
	if err == nil && os.SameFile(before, blob) {
		return true, nil
	}
	return holds(ctx, name, e.Digest)
}

// shared tells whether a file has the content in the store as its own already: no two may share it.
func (w *placing) shared(e agent.CopyEntry) bool {
	var st unix.Stat_t
	return unix.Lstat(w.blob(e.Digest), &st) == nil && st.Nlink > 1
}

// copied makes a file with a copy of the content.
func (w *placing) copied(ctx context.Context, name string, before os.FileInfo, e agent.CopyEntry) error {
	temp, err := durable.Create(name, tempPrefix)
	if err != nil {
		return err
	}
	defer temp.Discard()
	if e.Size > 0 {
		from, err := os.Open(w.blob(e.Digest))
		if err != nil {
			return err
		}
		defer from.Close()
		if n, err := io.Copy(temp.File, from); err != nil || n != e.Size {
			return errors.Join(err, ctx.Err(), sizeError(n, e.Size))
		}
	}
	keepOwner(temp.Name(), before)
	if err := os.Chtimes(temp.Name(), time.Time{}, time.Unix(0, e.Time)); err != nil {
		return err
	}
	return temp.Commit(e.Mode.Perm())
}

func sizeError(n, want int64) error {
	if n == want {
		return nil
	}
	return fmt.Errorf("%d bytes, expected %d", n, want)
}

// syncAll makes what was written on the file system of a directory durable.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// settle gives a file or directory its permissions and its time.
func settle(name string, e agent.CopyEntry) error {
	if err := os.Chmod(name, e.Mode.Perm()); err != nil {
		return err
	}
	return os.Chtimes(name, time.Time{}, time.Unix(0, e.Time))
}

// keepOwner gives a file the owner of the one that it replaces, as far as that is allowed.
func keepOwner(name string, before os.FileInfo) {
	if before == nil || !before.Mode().IsRegular() {
		return
	}
	if st, ok := before.Sys().(*syscall.Stat_t); ok {
		_ = os.Lchown(name, int(st.Uid), int(st.Gid))
	}
}
