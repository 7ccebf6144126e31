package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// DefaultMode is the mode of a file if the request has none.
const DefaultMode = fs.FileMode(0o644)

const maxReadTotal = 32 << 20 // bytes that are read at once

// WriteFiles makes files as asked, in the order given.
func (m Machine) WriteFiles(ctx context.Context, q agent.WriteRequest) (agent.WriteResult, error) {
	for _, f := range q.Files {
		if err := CheckPath(f.Path); err != nil {
			return agent.WriteResult{}, err
		}
		if f.Link == "" {
			continue
		}
		if err := CheckPath(f.Link); err != nil {
			return agent.WriteResult{}, err
		}
	}
	changed := []string{}
	for _, f := range q.Files {
		if ctx.Err() != nil {
			return agent.WriteResult{}, context.Cause(ctx)
		}
		write := m.writeFile
		switch {
		case f.Remove:
			write = func(f agent.File) (bool, error) { return m.RemoveFile(f.Path) }
		case f.Link != "":
			write = m.linkFile
		}
		did, err := write(f)
		if err != nil {
			return agent.WriteResult{}, err
		}
		if did {
			changed = append(changed, f.Path)
		}
	}
	return agent.WriteResult{Changed: changed}, nil
}

func (m Machine) writeFile(f agent.File) (bool, error) {
	name, mode := m.Path(f.Path), f.Mode
	if mode == 0 {
		mode = DefaultMode
	}
	// A link of the site stays: the file that it leads to is written.
	if real, err := filepath.EvalSymlinks(name); err == nil && !f.Own {
		name = real
	}
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := MakeParents(name); err != nil {
			return false, fmt.Errorf("write %s: %w", f.Path, err)
		}
		return true, m.Replace(f.Path, name, mode, f.Content, nil)
	case err != nil:
		return false, fmt.Errorf("write %s: %w", f.Path, err)
	case info.IsDir():
		return false, &agent.Error{Code: agent.CodeRefused, Message: "write " + f.Path + ": it is a directory"}
	case !info.Mode().IsRegular():
		return true, m.Replace(f.Path, name, mode, f.Content, nil)
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
			return true, m.Disk.Put(f.Path, func() error { return os.Chmod(name, mode) })
		}
	}
	return true, m.Replace(f.Path, name, mode, f.Content, info)
}

// RemoveFile removes a file that is no directory, and tells whether it was there.
func (m Machine) RemoveFile(file string) (bool, error) {
	name := m.Path(file)
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err != nil && IsNotDir(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("remove file: %w", err)
	case info.IsDir():
		return false, &agent.Error{Code: agent.CodeRefused, Message: "remove " + file + ": it is a directory"}
	}
	if err := m.Disk.Remove(file, func() error { return os.Remove(name) }); err != nil {
		return false, fmt.Errorf("remove file: %w", err)
	}
	return true, durable.SyncDir(filepath.Dir(name))
}

// ReadFiles gives regular files; those that are not there are absent.
func (m Machine) ReadFiles(ctx context.Context, q agent.ReadRequest) (agent.ReadResult, error) {
	files := map[string][]byte{}
	left := int64(maxReadTotal)
	for _, p := range q.Paths {
		if ctx.Err() != nil {
			return agent.ReadResult{}, context.Cause(ctx)
		}
		if err := CheckPath(p); err != nil {
			return agent.ReadResult{}, err
		}
		text, err := ReadRegular(m.Path(p), left)
		if errors.Is(err, fs.ErrNotExist) || IsNotDir(err) {
			continue
		}
		if err != nil {
			return agent.ReadResult{}, fmt.Errorf("read file: %w", err)
		}
		files[p] = text
		left -= int64(len(text))
	}
	return agent.ReadResult{Files: files}, nil
}

// linkFile makes a symbolic link, in one step: whatever follows it finds what was there before, or what is to be there.
func (m Machine) linkFile(f agent.File) (bool, error) {
	name := m.Path(f.Path)
	if to, err := os.Readlink(name); err == nil && to == f.Link {
		return false, nil
	}
	info, err := os.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return false, &agent.Error{Code: agent.CodeRefused, Message: "link " + f.Path + ": it is a directory"}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("link %s: %w", f.Path, err)
	}
	if err := MakeParents(name); err != nil {
		return false, fmt.Errorf("link %s: %w", f.Path, err)
	}
	return true, m.Disk.Put(f.Path, func() error {
		// A killed process may have left it.
		temp := filepath.Join(filepath.Dir(name), tempPrefix+filepath.Base(name)+".link")
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		if err := os.Symlink(f.Link, temp); err != nil {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		defer os.Remove(temp) // gone after the rename
		if err := m.Disk.Staged(f.Path); err != nil {
			return err
		}
		if err := durable.Rename(temp, name); err != nil {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		return nil
	})
}
