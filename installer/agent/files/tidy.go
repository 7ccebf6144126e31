package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// maxLeft bounds how many names are told of what a directory holds.
const maxLeft = 1000

// Tidy removes what the request knows of a directory, and directories that are empty then.
func (m Machine) Tidy(ctx context.Context, q agent.TidyRequest) (agent.TidyResult, error) {
	if err := errors.Join(CheckPath(q.Dir), guardName(q.Dir)); err != nil {
		return agent.TidyResult{}, err
	}
	dirs := []string{q.Dir}
	for _, known := range q.Known {
		name := path.Join(q.Dir, known)
		if !strings.HasPrefix(name, q.Dir+"/") {
			return agent.TidyResult{}, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("tidy %s: %q is not below it", q.Dir, known)}
		}
		if ctx.Err() != nil {
			return agent.TidyResult{}, context.Cause(ctx)
		}
		if err := m.removeMatching(name); err != nil {
			return agent.TidyResult{}, fmt.Errorf("tidy %s: %w", q.Dir, err)
		}
		for dir := path.Dir(name); dir != q.Dir; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range slices.Compact(dirs) {
		durable.Sweep(m.Path(dir), tempPrefix)
		if err := m.removeEmpty(dir); err != nil {
			return agent.TidyResult{}, fmt.Errorf("tidy %s: %w", q.Dir, err)
		}
	}
	return agent.TidyResult{Left: m.Below(q.Dir)}, nil
}

// removeMatching removes what matches the last part of a name, which is a pattern.
func (m Machine) removeMatching(name string) error {
	dir, pattern := path.Split(name)
	entries, err := os.ReadDir(m.Path(dir))
	if errors.Is(err, fs.ErrNotExist) || IsNotDir(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		ok, err := path.Match(pattern, e.Name())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !ok {
			continue
		}
		if err := m.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a directory that holds nothing and is no link or mount point.
func (m Machine) removeEmpty(dir string) error {
	entries, err := os.ReadDir(m.Path(dir))
	if err != nil || len(entries) > 0 {
		return nil
	}
	if info, err := os.Lstat(m.Path(dir)); err != nil || !info.IsDir() {
		return nil
	}
	return m.Disk.Remove(dir, func() error {
		err := unix.Rmdir(m.Path(dir))
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
}

// Below lists what is below a directory, except for directories, sorted. It follows a link to the directory, and no others.
func (m Machine) Below(dir string) []string {
	real, err := filepath.EvalSymlinks(m.Path(dir))
	if err != nil {
		return nil
	}
	var out []string
	// What cannot be read is left out: the list is for messages.
	_ = filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, dir+strings.TrimPrefix(name, real))
		}
		if len(out) >= maxLeft {
			return fs.SkipAll
		}
		return nil
	})
	return out
}
