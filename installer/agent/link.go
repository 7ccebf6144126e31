package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// linkFile makes a symbolic link, in one step: whatever follows it finds what was there before, or what is to be there.
func (m machine) linkFile(f File) (bool, error) {
	name := m.path(f.Path)
	if to, err := os.Readlink(name); err == nil && to == f.Link {
		return false, nil
	}
	info, err := os.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return false, &Error{Code: CodeRefused, Message: "link " + f.Path + ": it is a directory"}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("link %s: %w", f.Path, err)
	}
	if err := makeParents(name); err != nil {
		return false, fmt.Errorf("link %s: %w", f.Path, err)
	}
	return true, m.change(f.Path, Before, func() error {
		// What a killed process left under that name goes away here, or when the file is written next.
		temp := filepath.Join(filepath.Dir(name), tempPrefix+filepath.Base(name)+".link")
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		if err := os.Symlink(f.Link, temp); err != nil {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		defer os.Remove(temp) // gone after the rename
		if err := m.tell(f.Path, Staged); err != nil {
			return err
		}
		if err := durable.Rename(temp, name); err != nil {
			return fmt.Errorf("link %s: %w", f.Path, err)
		}
		return nil
	})
}
