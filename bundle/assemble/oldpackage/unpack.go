package oldpackage

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containers/image/v5/pkg/compression"
)

// unpack unpacks a package that is one file, as such packages are handed on. ok is false if file is none.
func unpack(ctx context.Context, file, dir string) (ok bool, err error) {
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() || !archived(file) {
		return false, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	plain, _, err := compression.AutoDecompress(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return false, fmt.Errorf("unpack %s: %w", file, err)
	}
	defer func() { _ = plain.Close() }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	root, err := os.OpenRoot(dir) // nothing is written outside, whatever the archive says
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	entries := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err == nil {
			err = unpackEntry(root, h, entries)
		}
		if err != nil {
			return false, fmt.Errorf("unpack %s: %w", file, err)
		}
	}
}

// unpackEntry makes one file of a package.
func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(h.Mode)&0o777|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close(), root.Chtimes(name, h.ModTime, h.ModTime))
	}
	return nil // devices and what tar itself notes
}
