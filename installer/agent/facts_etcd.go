package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is a directory as it is found, and what is in it.
type Dir struct {
	Exists bool `json:"exists"`
	// NotDir tells that something else is there: a file, or a link that leads to no directory.
	NotDir  bool     `json:"notDir,omitempty"`
	Link    bool     `json:"link,omitempty"`    // the name itself is a link
	Mount   bool     `json:"mount,omitempty"`   // a file system is mounted on it
	Entries []string `json:"entries,omitempty"` // names of what it holds, sorted, the first maxDirEntries
	Error   string   `json:"error,omitempty"`   // why it could not be looked at
}

// maxDirEntries bounds what is told of a directory.
const maxDirEntries = 20

// lostFound is what a new file system of the ext family has in it.
const lostFound = "lost+found"

// Empty tells whether nothing is in the directory, or there is none.
func (d Dir) Empty() bool { return !d.NotDir && d.Error == "" && len(d.Entries) == 0 }

// Fresh tells whether it is a mount point with nothing in it but what a new file system has.
func (d Dir) Fresh() bool {
	return d.Mount && !d.NotDir && d.Error == "" && slices.Equal(d.Entries, []string{lostFound})
}

// Holds lists what is in the directory beside what a new file system has.
func (d Dir) Holds() []string {
	return slices.DeleteFunc(slices.Clone(d.Entries), func(name string) bool { return d.Mount && name == lostFound })
}

type dirsRequest struct {
	Dirs []string `json:"dirs"`
}

type dirsResult struct {
	Dirs map[string]Dir `json:"dirs"`
}

// Dirs looks at directories.
func (a *Agent) Dirs(ctx context.Context, dirs ...string) (map[string]Dir, error) {
	var res dirsResult
	err := a.call(ctx, verbDirs, dirsRequest{dirs}, &res, nil)
	return res.Dirs, err
}

func (m machine) lookAtDirs(_ context.Context, q dirsRequest, _ *answers) (any, error) {
	for _, name := range q.Dirs {
		if err := checkPath(name); err != nil {
			return nil, err
		}
	}
	return dirsResult{m.dirs(q.Dirs)}, nil
}

func (m machine) dirs(names []string) map[string]Dir {
	if len(names) == 0 {
		return nil
	}
	mounts, _ := m.mountPoints() // without the table no directory is taken for a mount point
	out := map[string]Dir{}
	for _, name := range names {
		if checkPath(name) == nil {
			out[name] = m.dir(name, mounts)
		}
	}
	return out
}

func (m machine) dir(name string, mounts []string) Dir {
	info, err := os.Lstat(m.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Dir{}
	case isNotDir(err):
		return Dir{NotDir: true}
	case err != nil:
		return Dir{Exists: true, Error: err.Error()}
	}
	d := Dir{Exists: true, Link: info.Mode()&fs.ModeSymlink != 0}
	real, err := filepath.EvalSymlinks(m.path(name))
	if err != nil {
		d.NotDir = true
		return d
	}
	d.Mount = slices.Contains(mounts, filepath.Join("/", strings.TrimPrefix(real, m.root)))
	entries, err := os.ReadDir(real)
	if isNotDir(err) {
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
