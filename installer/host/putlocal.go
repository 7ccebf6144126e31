package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// Put writes the file directly when this process is root, else through sudo as over ssh.
func (h *localHost) Put(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	if os.Geteuid() != 0 {
		return putThrough(ctx, h, name, mode, r)
	}
	err := checkPut(name)
	if err == nil {
		err = putFile(ctx, name, mode, r)
	}
	if err != nil {
		return fmt.Errorf("%s: put %s: %w", h.name, name, err)
	}
	return nil
}

func putFile(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	want, err := digestOf(r)
	if err != nil {
		return err
	}
	info, err := os.Lstat(name)
	if err == nil && info.IsDir() {
		return errors.New("is a directory")
	}
	if want != "" && err == nil && info.Mode().IsRegular() {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		have, err := digestOf(f)
		if err != nil {
			return err
		}
		if have == want {
			return f.Chmod(mode)
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp, err := durable.Create(name, ".sealinstall-")
	if err != nil {
		return err
	}
	defer temp.Discard()
	if _, err := io.Copy(temp, &contextReader{ctx, r}); err != nil {
		return err
	}
	labelProgram(temp.File, mode)
	return temp.Commit(mode)
}

// contextReader stops a copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// labelProgram does for SELinux what `chcon -t bin_t` does: where it is enforced, systemd starts only what is labelled as a
// program.
func labelProgram(f *os.File, mode fs.FileMode) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil && mode&0o100 != 0 {
		unix.Fsetxattr(int(f.Fd()), "security.selinux", []byte("system_u:object_r:bin_t:s0\x00"), 0)
	}
}
