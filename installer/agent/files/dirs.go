package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Filled tells which paths are files, or directories that are not empty.
func (m Machine) Filled(paths []string) map[string]bool {
	out := map[string]bool{}
	for _, p := range paths {
		if CheckPath(p) != nil {
			continue
		}
		info, err := os.Stat(m.Path(p))
		if err != nil {
			continue
		}
		if !info.IsDir() {
			out[p] = true
			continue
		}
		if dir, err := os.Open(m.Path(p)); err == nil {
			_, err = dir.Readdirnames(1)
			out[p] = err == nil
			dir.Close()
		}
	}
	return out
}

// maxDirEntries bounds what is told of a directory.
const maxDirEntries = 20

// LookAtDirs describes directories.
func (m Machine) LookAtDirs(_ context.Context, q agent.DirsRequest) (agent.DirsResult, error) {
	for _, name := range q.Dirs {
		if err := CheckPath(name); err != nil {
			return agent.DirsResult{}, err
		}
	}
	return agent.DirsResult{Dirs: m.Dirs(q.Dirs)}, nil
}

// Dirs describes directories. It leaves out names that are no clean absolute paths.
func (m Machine) Dirs(names []string) map[string]agent.Dir {
	if len(names) == 0 {
		return nil
	}
	mounts, _ := m.MountPoints() // without the table no directory is taken for a mount point
	out := map[string]agent.Dir{}
	for _, name := range names {
		if CheckPath(name) == nil {
			out[name] = m.dir(name, mounts)
		}
	}
	return out
}

func (m Machine) dir(name string, mounts []string) agent.Dir {
	info, err := os.Lstat(m.Path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return agent.Dir{}
	case IsNotDir(err):
		return agent.Dir{NotDir: true}
	case err != nil:
		return agent.Dir{Exists: true, Error: err.Error()}
	}
	d := agent.Dir{Exists: true, Link: info.Mode()&fs.ModeSymlink != 0}
	real, err := filepath.EvalSymlinks(m.Path(name))
	if err != nil {
		d.NotDir = true
		return d
	}
	d.Mount = slices.Contains(mounts, filepath.Join("/", strings.TrimPrefix(real, m.Root)))
	entries, err := os.ReadDir(real)
	if IsNotDir(err) {
		d.NotDir = true
		return d
	}
	if err != nil {
		d.Error = err.Error()
		return d
	}
	for _, e := range entries[:min(len(entries), maxDirEntries)] {
		d.Entries = append(d.Entries, e.Name())
	}
	return d
}
