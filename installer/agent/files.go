package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/ground/durable"
)

const (
	maxReadTotal = 32 << 20 // bytes that read-files gives at once
	defaultMode  = fs.FileMode(0o644)
)

type writeRequest struct {
	Files []File `json:"files"`
}

type writeResult struct {
	Changed []string `json:"changed"`
}

// writeFiles makes files as asked, in the order given.
func (m machine) writeFiles(ctx context.Context, q writeRequest, _ *answers) (any, error) {
	for _, f := range q.Files {
		if err := checkPath(f.Path); err != nil {
			return nil, err
		}
		if f.Link == "" {
			continue
		}
		if err := checkPath(f.Link); err != nil {
			return nil, err
		}
	}
	changed := []string{}
	for _, f := range q.Files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		write := m.writeFile
		switch {
		case f.Remove:
			write = m.removeFile
		case f.Link != "":
			write = m.linkFile
		}
		did, err := write(f)
		if err != nil {
			return nil, err
		}
		if did {
			changed = append(changed, f.Path)
		}
	}
	return writeResult{changed}, nil
}

func (m machine) writeFile(f File) (bool, error) {
	name, mode := m.path(f.Path), f.Mode
	if mode == 0 {
		mode = defaultMode
	}
	// A link somebody made stays one: the file it leads to is written.
	if real, err := filepath.EvalSymlinks(name); err == nil && !f.Own {
		name = real
	}
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeParents(name); err != nil {
			return false, fmt.Errorf("write %s: %w", f.Path, err)
		}
		return true, m.replace(f.Path, name, mode, f.Content, nil)
	case err != nil:
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	case info.IsDir():
		return false, &Error{Code: CodeRefused, Message: "write " + f.Path + ": it is a directory"}
	case !info.Mode().IsRegular():
		return true, m.replace(f.Path, name, mode, f.Content, nil)
	}
	if info.Size() == int64(len(f.Content)) {
		have, err := os.ReadFile(name)
		if err != nil {
			return false, fmt.Errorf("write %s: %w", f.Path, err)
		}
		if bytes.Equal(have, f.Content) {
			if info.Mode() == mode {
				return false, nil
			}
			return true, m.change(f.Path, Before, func() error { return os.Chmod(name, mode) })
		}
	}
	return true, m.replace(f.Path, name, mode, f.Content, info)
}

func (m machine) removeFile(f File) (bool, error) {
	name := m.path(f.Path)
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err != nil && isNotDir(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("remove file: %w", err)
	case info.IsDir():
		return false, &Error{Code: CodeRefused, Message: "remove " + f.Path + ": it is a directory"}
	}
	if err := m.change(f.Path, Removing, func() error { return os.Remove(name) }); err != nil {
		return false, fmt.Errorf("remove file: %w", err)
	}
	return true, durable.SyncDir(filepath.Dir(name))
}

type readRequest struct {
	Paths []string `json:"paths"`
}

type readResult struct {
	Files map[string][]byte `json:"files"`
}

// readFiles gives regular files; those that are not there are absent.
func (m machine) readFiles(ctx context.Context, q readRequest, _ *answers) (any, error) {
	files := map[string][]byte{}
	left := int64(maxReadTotal)
	for _, p := range q.Paths {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := checkPath(p); err != nil {
			return nil, err
		}
		text, err := readRegular(m.path(p), left)
		if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read file: %w", err)
		}
		files[p] = text
		left -= int64(len(text))
	}
	return readResult{files}, nil
}
