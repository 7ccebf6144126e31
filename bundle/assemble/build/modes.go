package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/fileutils"

	"github.com/sealbuild/sealbuild/kubefile"
)

// modeContexts makes the build contexts out of which files with a symbolic --chmod are taken: copies of what is named, at the same
// paths, with the modes changed and without what the context's ignore file leaves out.
func modeContexts(ctx context.Context, r Request, ignored []string) ([]NamedContext, error) {
	if r.File == nil {
		return nil, nil
	}
	matcher, err := fileutils.NewPatternMatcher(ignored)
	if err != nil {
		return nil, fmt.Errorf("read ignore file of %s: %w", r.Context, err)
	}
	var all []NamedContext
	for _, c := range r.File.Chmods() {
		m := modes{ctx: ctx, mode: c.Mode, ignored: matcher, to: filepath.Join(r.Scratch, c.Context)}
		if m.root, err = os.OpenRoot(r.Context); err != nil {
			return nil, err
		}
		err = os.Mkdir(m.to, 0o755)
		for _, s := range c.Sources {
			if err == nil {
				err = m.source(s.Path)
			}
		}
		if err = errors.Join(err, m.root.Close()); err != nil {
			return nil, fmt.Errorf("change the modes of files of %s: %w", r.Context, err)
		}
		all = append(all, NamedContext{Name: c.Context, Dir: m.to})
	}
	return all, nil
}

// modes copies files and changes their modes.
type modes struct {
	ctx     context.Context
	root    *os.Root
	mode    kubefile.Mode
	ignored *fileutils.PatternMatcher
	to      string
}

// source copies what one path or pattern of a COPY names. What is not there the builder tells.
func (m *modes) source(name string) error {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	found := []string{clean}
	switch {
	case clean == "" || strings.Contains(clean, "**"):
		found = []string{"."}
	case strings.ContainsAny(clean, `*?[\`):
		var err error
		if found, err = fs.Glob(m.root.FS(), clean); err != nil {
			return err
		}
	}
	for _, top := range found {
		err := fs.WalkDir(m.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
			if m.ctx.Err() != nil {
				return m.ctx.Err()
			}
			if err != nil {
				return err
			}
			return m.entry(name, d, name == top)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (m *modes) entry(name string, d fs.DirEntry, top bool) error {
	if left, err := m.ignored.IsMatch(name); err != nil || left && name != "." {
		if err == nil && d.IsDir() && !m.ignored.Exclusions() {
			return fs.SkipDir
		}
		return err
	}
	to := filepath.Join(m.to, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if top && info.Mode()&fs.ModeSymlink != 0 { // a source that is a link is followed
		if info, err = m.root.Stat(name); err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a link to a directory: name the directory", name)
		}
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := m.root.Readlink(name)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case info.IsDir():
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		if err := m.file(name, to); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither a file nor a directory", name)
	}
	return os.Chmod(to, fileMode(m.mode.Of(bitsOf(info.Mode()), info.IsDir())))
}

func (m *modes) file(name, to string) error {
	in, err := m.root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// special are the bits that Go's modes have elsewhere.
var special = [...]struct {
	bit  uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func bitsOf(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, s := range special {
		if m&s.mode != 0 {
			bits |= s.bit
		}
	}
	return bits
}

func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for _, s := range special {
		if bits&s.bit != 0 {
			m |= s.mode
		}
	}
	return m
}
