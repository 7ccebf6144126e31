// Package layers unpacks the layers of images into directories of a host, and keeps lists of what lies in them.
package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// maxEntries bounds the names of a layer that are held in memory.
const maxEntries = 4 << 20

const (
	whiteout = ".wh."         // begins the name of what a layer removes
	opaque   = ".wh..wh..opq" // in a directory: removes what lower layers put there
)

// layer applies one archive to a directory by the rules of OCI image layers.
//
// Everything goes through an os.Root: a name, or a link that an earlier entry or somebody else made, that leads out
// of the directory is an error. Files and links are made in the stage and renamed, so that a program that runs keeps its file.
type layer struct {
	root       *os.Root
	stage      *stage
	exclude    []string
	executable []string
	own        map[string]bool // what this layer has made: its whiteouts do not apply to that
	dirs       []dirTime
	disk       files.Disk // carries out the change of each entry, named below dir
	dir        string
}

type dirTime struct {
	name  string
	mtime time.Time
}

func (l *layer) apply(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		name, skip, err := l.place(h)
		if err == nil && !skip {
			err = l.disk.Put(path.Join(l.dir, name), func() error { return l.entry(name, h, tr) })
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
		if len(l.own) > maxEntries {
			return errors.New("archive: more entries than can be")
		}
	}
	// Directories last, children before parents: what is put into one changes its time.
	for _, d := range slices.Backward(l.dirs) {
		if info, err := l.root.Lstat(d.name); err == nil && info.IsDir() {
			l.root.Chtimes(d.name, time.Time{}, d.mtime)
		}
	}
	return nil
}

// place gives the name of an entry below the directory, and whether it is left out.
func (l *layer) place(h *tar.Header) (name string, skip bool, err error) {
	name, err = inside(h.Name)
	if err != nil {
		return "", false, err
	}
	if name == "." || h.Typeflag == tar.TypeXGlobalHeader {
		return "", true, nil
	}
	return name, l.excluded(name), nil
}

func (l *layer) excluded(name string) bool {
	plain := path.Join(path.Dir(name), strings.TrimPrefix(path.Base(name), whiteout))
	return under(plain, layersDir) || slices.ContainsFunc(l.exclude, func(e string) bool { return under(plain, e) })
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// inside cleans a name of the archive. One that climbs is refused rather than bent: nobody makes it by accident.
func inside(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New("its name leads upwards")
	}
	return path.Join(".", path.Clean("/"+name)), nil
}

func (l *layer) entry(name string, h *tar.Header, content io.Reader) error {
	base := path.Base(name)
	switch {
	case base == opaque:
		return l.clear(path.Dir(name))
	case strings.HasPrefix(base, whiteout+whiteout):
		return nil // from the file system that the layer was made on
	case strings.HasPrefix(base, whiteout):
		return l.takeAway(path.Join(path.Dir(name), strings.TrimPrefix(base, whiteout)))
	}
	if err := l.parents(name); err != nil {
		return err
	}
	var err error
	if h.Typeflag == tar.TypeReg && slices.ContainsFunc(l.executable, func(e string) bool { return e == "." || under(name, e) }) {
		h.Mode |= 0o755
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = l.directory(name, h)
	case tar.TypeReg:
		err = l.file(name, h, content)
	case tar.TypeLink:
		err = l.hardLink(name, h)
	case tar.TypeSymlink:
		err = l.symlink(name, h)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		err = l.special(name, h)
	default:
		err = fmt.Errorf("its type %q is not known", h.Typeflag)
	}
	for at := name; err == nil && at != "." && !l.own[at]; at = path.Dir(at) {
		l.own[at] = true
	}
	return err
}

func (l *layer) parents(name string) error {
	dir := path.Dir(name)
	if l.own[dir] || dir == "." {
		return nil
	}
	return l.root.MkdirAll(dir, 0o755)
}

// takeAway removes what lower layers put under a name, and leaves what this one put there.
func (l *layer) takeAway(name string) error {
	if name == "." || name == ".." || path.Base(name) == ".." {
		return errors.New("it is a whiteout of nothing")
	}
	if !l.own[name] {
		return ignoreMissing(l.root.RemoveAll(name))
	}
	info, err := l.root.Lstat(name)
	if err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	return l.clear(name)
}

// clear removes from a directory what lower layers put there.
func (l *layer) clear(dir string) error {
	info, err := l.root.Lstat(dir)
	if err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	entries, err := fs.ReadDir(l.root.FS(), dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if name == layersDir || l.excluded(name) {
			continue
		}
		if err := l.takeAway(name); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || files.IsNotDir(err) {
		return nil
	}
	return err
}
