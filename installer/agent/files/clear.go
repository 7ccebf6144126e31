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

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Run runs a program of the host to its end.
type Run func(ctx context.Context, argv ...string) (agent.ExecResult, error)

// Clear removes what directories hold. All paths are checked before the first is touched.
func (m Machine) Clear(ctx context.Context, q agent.ClearRequest, run Run) (agent.ClearResult, error) {
	var found []place
	for _, p := range q.Paths {
		at, err := m.find(p)
		if err != nil {
			return agent.ClearResult{}, err
		}
		if at.real != "" {
			found = append(found, at)
		}
	}
	var res agent.ClearResult
	for _, at := range found {
		if at.file {
			if err := m.RemoveAll(at.real); err != nil {
				return agent.ClearResult{}, fmt.Errorf("clear: %w", err)
			}
			continue
		}
		if q.Volumes {
			if err := m.unmountVolumes(ctx, at.real, run); err != nil {
				return agent.ClearResult{}, err
			}
		}
		mounts, err := m.MountPoints()
		if err != nil {
			return agent.ClearResult{}, fmt.Errorf("clear %s: %w", at.real, err)
		}
		c := clearing{Machine: m, mounts: mounts, keep: q.Keep}
		if slices.Contains(mounts, at.real) {
			c.keep = append(slices.Clone(c.keep), "lost+found")
			at.stays = true
		}
		if err := c.dir(ctx, at.real, true); err != nil {
			return agent.ClearResult{}, fmt.Errorf("clear %s: %w", at.real, err)
		}
		if !at.stays {
			if err := m.removeEmpty(at.real); err != nil {
				return agent.ClearResult{}, fmt.Errorf("clear %s: %w", at.real, err)
			}
		}
		res.Kept = append(res.Kept, c.kept...)
	}
	return res, nil
}

// place is what lies under a name, with all links resolved.
type place struct {
	real  string // empty if nothing is there
	stays bool   // the name is a link or a mount point, which is not removed
	file  bool
}

func (m Machine) find(p string) (place, error) {
	if err := errors.Join(CheckPath(p), guardName(p)); err != nil {
		return place{}, err
	}
	info, err := os.Lstat(m.Path(p))
	if errors.Is(err, fs.ErrNotExist) || IsNotDir(err) {
		return place{}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("clear: %w", err)
	}
	real, err := filepath.EvalSymlinks(m.Path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, nil // a link that leads nowhere
	}
	if err != nil {
		return place{}, fmt.Errorf("clear: %w", err)
	}
	at := place{real: filepath.Join("/", strings.TrimPrefix(real, m.Root)), stays: info.Mode()&fs.ModeSymlink != 0}
	if err := guardName(at.real); err != nil {
		return place{}, &agent.Error{
			Code: agent.CodeRefused, Message: fmt.Sprintf("%s is a link to %s, which may hold more than is the cluster's", p, at.real),
			Remedy: "remove what of it is the cluster's, and the link, then try again",
		}
	}
	if info, err := os.Stat(real); err == nil && !info.IsDir() {
		at.file, at.real = true, p // remove the name itself, not the file that it leads to
	}
	return at, nil
}

// clearing is the work on one directory.
type clearing struct {
	Machine
	mounts, keep []string
	kept         []string // mount points that were left alone
}

// dir removes what a directory holds.
func (c *clearing) dir(ctx context.Context, dir string, top bool) error {
	entries, err := os.ReadDir(c.Path(dir))
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
			if err := c.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmountVolumes unmounts what kubelet and its plugins have mounted: at least three names below kubelet's directory, where no
// site mounts a disk. A mount that does not answer is detached.
func (m Machine) unmountVolumes(ctx context.Context, dir string, run Run) error {
	mounts, err := m.MountPoints()
	if err != nil {
		return fmt.Errorf("clear %s: %w", dir, err)
	}
	for _, mount := range slices.Backward(mounts) {
		below, ok := strings.CutPrefix(mount, dir+"/")
		parts := strings.Split(below, "/")
		if !ok || len(parts) < 3 || !slices.Contains([]string{"pods", "plugins"}, parts[0]) {
			continue
		}
		res, err := run(ctx, "umount", mount)
		if err == nil && res.Code != 0 {
			res, err = run(ctx, "umount", "--lazy", mount)
		}
		if err != nil {
			return err
		}
		if res.Code != 0 {
			return &agent.Error{
				Code: agent.CodeRefused, Message: fmt.Sprintf("unmount %s: %s", mount, strings.TrimSpace(string(res.Stderr))),
				Remedy: "unmount it (fuser -vm shows who uses it), and try again",
			}
		}
	}
	return nil
}
