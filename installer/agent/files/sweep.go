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
	"syscall"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Sweep removes the copies that a program has left in a directory. Whatever is not as that program leaves it stays.
func (m Machine) Sweep(ctx context.Context, q agent.SweepRequest) (agent.SweepResult, error) {
	if err := errors.Join(CheckPath(q.Dir), guardName(q.Dir)); err != nil {
		return agent.SweepResult{}, err
	}
	for _, pattern := range q.Known {
		if _, err := path.Match(pattern, ""); err != nil {
			return agent.SweepResult{}, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("sweep %s: %q: %v", q.Dir, pattern, err)}
		}
	}
	info, err := os.Lstat(m.Path(q.Dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), err != nil && IsNotDir(err):
		return agent.SweepResult{}, nil
	case err != nil:
		return agent.SweepResult{}, fmt.Errorf("sweep: %w", err)
	case !info.IsDir() || !ownedByUs(info):
		return agent.SweepResult{}, &agent.Error{Code: agent.CodeRefused, Message: "sweep " + q.Dir + ": it is a link, a file, or another user's"}
	}
	mounts, err := m.MountPoints()
	if err != nil {
		return agent.SweepResult{}, fmt.Errorf("sweep: %w", err)
	}
	entries, err := os.ReadDir(m.Path(q.Dir))
	if err != nil {
		return agent.SweepResult{}, fmt.Errorf("sweep: %w", err)
	}
	var res agent.SweepResult
	for _, e := range entries {
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		known := slices.ContainsFunc(q.Known, func(pattern string) bool {
			ok, _ := path.Match(pattern, e.Name()) // the patterns are good
			return ok
		})
		name := path.Join(q.Dir, e.Name())
		bytes, ours := int64(0), false
		if known && e.IsDir() {
			bytes, ours = measure(m.Path(name))
		}
		if _, err := m.guard(name, mounts); err != nil || !ours {
			res.Left = append(res.Left, e.Name())
			continue
		}
		if err := m.RemoveAll(name); err != nil {
			return res, fmt.Errorf("sweep: %w", err)
		}
		res.Removed = append(res.Removed, e.Name())
		res.Bytes += bytes
	}
	return res, nil
}

// measure tells how many bytes a directory takes on the disk, and whether all that it holds is this user's.
func measure(dir string) (bytes int64, ours bool) {
	ours = true
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		ours = ours && ownedByUs(info)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes, ours && err == nil
}

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
