package agent

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
)

// maxLeft bounds how many names a tidied directory is said to keep.
const maxLeft = 1000

// TidyRequest names what is the cluster's in a directory that others use, too.
type TidyRequest struct {
	Dir string `json:"dir"`
	// Known are names below Dir. The last part of each is a pattern of path.Match. A directory that matches goes with all it holds.
	Known []string `json:"known"`
}

type tidyResult struct {
	Left []string `json:"left,omitempty"`
}

// Tidy removes what is known of a directory, what a killed agent left where that lies, and the directories that are
// empty then; links and mount points stay. It names what others have put there and what therefore is left.
func (a *Agent) Tidy(ctx context.Context, q TidyRequest) (left []string, err error) {
	var res tidyResult
	err = a.call(ctx, verbTidy, q, &res, nil)
	return res.Left, err
}

func (m machine) tidy(ctx context.Context, q TidyRequest, _ *answers) (any, error) {
	if err := errors.Join(checkPath(q.Dir), guardName(q.Dir)); err != nil {
		return nil, err
	}
	dirs := []string{q.Dir}
	for _, known := range q.Known {
		name := path.Join(q.Dir, known)
		if !strings.HasPrefix(name, q.Dir+"/") {
			return nil, &Error{Code: CodeRefused, Message: fmt.Sprintf("tidy %s: %q is not below it", q.Dir, known)}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := m.removeMatching(name); err != nil {
			return nil, fmt.Errorf("tidy %s: %w", q.Dir, err)
		}
		for dir := path.Dir(name); dir != q.Dir; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range slices.Compact(dirs) {
		durable.Sweep(m.path(dir), tempPrefix)
		if err := m.removeEmpty(dir); err != nil {
			return nil, fmt.Errorf("tidy %s: %w", q.Dir, err)
		}
	}
	return tidyResult{m.filesBelow(q.Dir, maxLeft)}, nil
}

// removeMatching removes what the last part of a name matches.
func (m machine) removeMatching(name string) error {
	dir, pattern := path.Split(name)
	entries, err := os.ReadDir(m.path(dir))
	if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
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
		if err := m.removeAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a directory that holds nothing and is no link or mount point.
func (m machine) removeEmpty(dir string) error {
	entries, err := os.ReadDir(m.path(dir))
	if err != nil || len(entries) > 0 {
		return nil
	}
	if info, err := os.Lstat(m.path(dir)); err != nil || !info.IsDir() {
		return nil
	}
	return m.change(dir, Removing, func() error {
		err := unix.Rmdir(m.path(dir))
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
}

// filesBelow lists what is below a directory and is none itself, sorted. A link to the directory is followed, others are not.
func (m machine) filesBelow(dir string, limit int) []string {
	real, err := filepath.EvalSymlinks(m.path(dir))
	if err != nil {
		return nil
	}
	var out []string
	// What cannot be read is left out: this is for telling.
	_ = filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, dir+strings.TrimPrefix(name, real))
		}
		if len(out) >= limit {
			return fs.SkipAll
		}
		return nil
	})
	return out
}
