package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// directory makes a directory, or gives the one that is there the entry's mode and owner.
func (l *layer) directory(name string, h *tar.Header) error {
	info, err := l.root.Lstat(name)
	if err == nil && !info.IsDir() {
		if err := l.root.Remove(name); err != nil {
			return err
		}
		err = fs.ErrNotExist
	}
	if err != nil {
		if err := l.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// By its handle, since the name could become a link meanwhile.
	d, err := l.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	l.dirs = append(l.dirs, dirTime{name, h.ModTime})
	return dress(d, h)
}

func (l *layer) file(name string, h *tar.Header, content io.Reader) error {
	// A few bytes of a sparse file can announce more zeros than any disk holds, and images have none.
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("it is a sparse file, which images do not have")
		}
	}
	temp := l.stage.name()
	f, err := l.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := dress(f, h); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := l.root.Chtimes(temp, h.ModTime, h.ModTime); err != nil {
		return err
	}
	return l.move(temp, name)
}

// dress sets owner, mode and attributes, in an order in which none resets another.
func dress(f *os.File, h *tar.Header) error {
	if os.Geteuid() == 0 {
		if err := f.Chown(h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(h.FileInfo().Mode()); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || (attr != "security.capability" && !strings.HasPrefix(attr, "user.")) {
			continue
		}
		err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return nil
}

// hardLink makes another name of a file. A file that was left out cannot have one.
func (l *layer) hardLink(name string, h *tar.Header) error {
	target, err := inside(h.Linkname)
	if err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if under(target, layersDir) {
		return fmt.Errorf("link to %q: that is not the layer's", h.Linkname)
	}
	temp := l.stage.name()
	if err := l.root.Link(target, temp); err != nil {
		if l.excluded(target) {
			return fmt.Errorf("link to %q, which is left out: %w", h.Linkname, err)
		}
		return err
	}
	if err := l.move(temp, name); err != nil {
		return err
	}
	// A rename between two names of one file does nothing and leaves both.
	return ignoreMissing(l.root.Remove(temp))
}

// symlink makes a link. Its target is not checked: links are checked as they are followed.
func (l *layer) symlink(name string, h *tar.Header) error {
	temp := l.stage.name()
	if err := l.root.Symlink(h.Linkname, temp); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := l.root.Lchown(temp, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	return l.move(temp, name)
}

// special makes a pipe or a device.
func (l *layer) special(name string, h *tar.Header) error {
	mode := uint32(h.FileInfo().Mode().Perm())
	switch h.Typeflag {
	case tar.TypeFifo:
		mode |= unix.S_IFIFO
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	}
	if h.Devmajor < 0 || h.Devmajor > 1<<12 || h.Devminor < 0 || h.Devminor > 1<<20 {
		return errors.New("its device number is out of range")
	}
	temp := l.stage.name()
	dir, err := l.root.Open(path.Dir(temp))
	if err != nil {
		return err
	}
	defer dir.Close()
	device := int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	if err := unix.Mknodat(int(dir.Fd()), path.Base(temp), mode, device); err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := l.root.Lchown(temp, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	return l.move(temp, name)
}

// move renames a file of the stage to its place. A directory there is removed first.
func (l *layer) move(temp, name string) error {
	if info, err := l.root.Lstat(name); err == nil && info.IsDir() {
		if err := l.root.RemoveAll(name); err != nil {
			return err
		}
	}
	return l.root.Rename(temp, name)
}
