package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// CheckPath refuses paths that are not clean and absolute, so that paths can be compared as text.
func CheckPath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || strings.ContainsRune(name, 0) {
		return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("path %q: want a clean absolute path", name)}
	}
	return nil
}

// tempPrefix begins the names of temporary files, also of those in which a stub arrives.
const tempPrefix = ".sealinstall-"

// Replace writes a file with atomicWrite; own is its name on the host, name that of the file to write, which differs where own
// is a link.
func (m Machine) Replace(own, name string, mode os.FileMode, content []byte, like os.FileInfo) error {
	return m.Disk.Put(own, func() error {
		return atomicWrite(name, mode, content, like, func() error { return m.Disk.Staged(own) })
	})
}

// atomicWrite puts content under name in one step, with the owner of like unless that is nil. staged, which may be nil, is
// called before that step.
func atomicWrite(name string, mode os.FileMode, content []byte, like os.FileInfo, staged func() error) error {
	temp, err := durable.Create(name, tempPrefix)
	if err != nil {
		return err
	}
	defer temp.Discard()
	if _, err := temp.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if like != nil {
		keepOwner(temp.File, name, like)
	}
	temp.Staged = staged
	return temp.Commit(mode)
}

// keepOwner gives a file the owner and the SELinux label of the one that it replaces, as far as that is allowed.
func keepOwner(f *os.File, name string, like os.FileInfo) {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		f.Chown(int(st.Uid), int(st.Gid))
	}
	label := make([]byte, 256)
	if n, err := unix.Getxattr(name, "security.selinux", label); err == nil {
		unix.Fsetxattr(int(f.Fd()), "security.selinux", label[:n], 0)
	}
}

// MakeParents makes the directories above name, mode 0755, and syncs the one that existed.
func MakeParents(name string) error {
	dir := filepath.Dir(name)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// ReadRegular reads a regular file of at most limit bytes.
func ReadRegular(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return text, err
}

// IsNotDir tells whether an error is that something above the path is a file, so that the path cannot exist.
func IsNotDir(err error) bool { return errors.Is(err, unix.ENOTDIR) }
