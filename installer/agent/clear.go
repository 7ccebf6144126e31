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
)

// ClearRequest names directories of data that are the cluster's, in places that the site may have made something else of.
type ClearRequest struct {
	Paths   []string `json:"paths"`
	Keep    []string `json:"keep,omitempty"`    // names in each of them that stay with all they hold
	Volumes bool     `json:"volumes,omitempty"` // what is mounted for pods below kubelet's directory is unmounted
}

type clearResult struct {
	Kept []string `json:"kept,omitempty"`
}

// Clear removes directories with all they hold. What the site made of them stays what it was: a link leads where it led, a file
// system stays mounted, and both are empty then. A file system that is mounted further below is not touched; those are named.
func (a *Agent) Clear(ctx context.Context, q ClearRequest) (kept []string, err error) {
	var res clearResult
	err = a.call(ctx, verbClear, q, &res, nil)
	return res.Kept, err
}

// clearDirs checks all paths before it touches the first.
func (m machine) clearDirs(ctx context.Context, q ClearRequest, _ *answers) (any, error) {
	var found []place
	for _, p := range q.Paths {
		at, err := m.find(p)
		if err != nil {
			return nil, err
		}
		if at.real != "" {
			found = append(found, at)
		}
	}
	var res clearResult
	for _, at := range found {
		if at.file {
			if err := m.removeAll(at.real); err != nil {
				return nil, fmt.Errorf("clear: %w", err)
			}
			continue
		}
		if q.Volumes {
			if err := m.unmountVolumes(ctx, at.real); err != nil {
				return nil, err
			}
		}
		mounts, err := m.mountPoints()
		if err != nil {
			return nil, fmt.Errorf("clear %s: %w", at.real, err)
		}
		c := clearing{machine: m, mounts: mounts, keep: q.Keep}
		if slices.Contains(mounts, at.real) {
			c.keep = append(slices.Clone(c.keep), "lost+found")
			at.stays = true
		}
		if err := c.dir(ctx, at.real, true); err != nil {
			return nil, fmt.Errorf("clear %s: %w", at.real, err)
		}
		if !at.stays {
			if err := m.removeEmpty(at.real); err != nil {
				return nil, fmt.Errorf("clear %s: %w", at.real, err)
			}
		}
		res.Kept = append(res.Kept, c.kept...)
	}
	return res, nil
}

// place is a directory as it was named, with all links on the way resolved.
type place struct {
	real  string // empty where nothing is there
	stays bool   // it is a link
	file  bool
}

func (m machine) find(p string) (place, error) {
	if err := errors.Join(checkPath(p), guardName(p)); err != nil {
		return place{}, err
	}
	info, err := os.Lstat(m.path(p))
	if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
		return place{}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("clear: %w", err)
	}
	real, err := filepath.EvalSymlinks(m.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, nil // a link that leads nowhere
	}
	if err != nil {
		return place{}, fmt.Errorf("clear: %w", err)
	}
	at := place{real: filepath.Join("/", strings.TrimPrefix(real, m.root)), stays: info.Mode()&fs.ModeSymlink != 0}
	if err := guardName(at.real); err != nil {
		return place{}, &Error{
			Code: CodeRefused, Message: fmt.Sprintf("%s is a link to %s, which may hold more than is the cluster's", p, at.real),
			Remedy: "remove what of it is the cluster's, and the link, then try again",
		}
	}
	if info, err := os.Stat(real); err == nil && !info.IsDir() {
		at.file, at.real = true, p // of a link to a file the link
	}
	return at, nil
}

// clearing is the work on one directory.
type clearing struct {
	machine
	mounts, keep []string
	kept         []string // mount points that were left alone
}

// dir removes what a directory holds.
func (c *clearing) dir(ctx context.Context, dir string, top bool) error {
	entries, err := os.ReadDir(c.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was named twice
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Join(dir, e.Name())
		switch {
		case top && slices.Contains(c.keep, e.Name()):
		case slices.Contains(c.mounts, name):
			c.kept = append(c.kept, name)
		case slices.ContainsFunc(c.mounts, func(mount string) bool { return strings.HasPrefix(mount, name+"/") }):
			if err := c.dir(ctx, name, false); err != nil {
				return err
			}
		default:
			if err := c.removeAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmountVolumes unmounts what kubelet and its plugins have mounted below kubelet's directory: at least three names below it,
// where no site mounts a disk. One that does not answer is detached.
func (m machine) unmountVolumes(ctx context.Context, dir string) error {
	mounts, err := m.mountPoints()
	if err != nil {
		return fmt.Errorf("clear %s: %w", dir, err)
	}
	for _, mount := range slices.Backward(mounts) {
		below, ok := strings.CutPrefix(mount, dir+"/")
		parts := strings.Split(below, "/")
		if !ok || len(parts) < 3 || !slices.Contains([]string{"pods", "plugins"}, parts[0]) {
			continue
		}
		res, err := m.command(ctx, nil, "umount", mount)
		if err == nil && res.Code != 0 {
			res, err = m.command(ctx, nil, "umount", "--lazy", mount)
		}
		if err != nil {
			return err
		}
		if res.Code != 0 {
			return &Error{
				Code: CodeRefused, Message: fmt.Sprintf("unmount %s: %s", mount, strings.TrimSpace(string(res.Stderr))),
				Remedy: "unmount it (fuser -vm shows who uses it), and try again",
			}
		}
	}
	return nil
}
