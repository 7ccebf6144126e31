package facts

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// mountFacts fills what the mount table tells: disks and control groups.
func (m machine) mountFacts(f *agent.Facts, paths []string) {
	table, err := m.Mounts()
	if err != nil {
		return
	}
	f.Mounts = sized(slices.Clone(table))
	f.Disks = map[string]agent.Mount{}
	for _, p := range paths {
		if files.CheckPath(p) != nil {
			continue
		}
		if mount, ok := m.mountOf(p, f.Mounts); ok {
			f.Disks[p] = mount
		}
	}
	f.CgroupVersion, f.Controllers = m.cgroups(table)
}

// cgroups gives the version in use, and its controllers. A host with both hierarchies (hybrid) uses version 1.
func (m machine) cgroups(table []agent.Mount) (version int, controllers []string) {
	known := map[string]bool{}
	for i, l := range m.Lines("/proc/cgroups") {
		if f := strings.Fields(l); i > 0 && len(f) == 4 && f[3] == "1" {
			known[f[0]] = true
		}
	}
	for _, t := range table {
		switch {
		case t.Type == "cgroup2" && t.Path == "/sys/fs/cgroup":
			return 2, strings.Fields(m.Text("/sys/fs/cgroup/cgroup.controllers"))
		case t.Type == "cgroup":
			version = 1
			for _, o := range t.Options {
				if known[o] && !slices.Contains(controllers, o) {
					controllers = append(controllers, o)
				}
			}
		case t.Type == "cgroup2" && version == 0:
			version = 2
		}
	}
	slices.Sort(controllers)
	return version, controllers
}

// sized gives the mounts that have blocks, with their sizes. A network file system whose server is away would hang: one that
// does not answer within a second has no size.
func sized(table []agent.Mount) []agent.Mount {
	type measured struct {
		i  int
		st unix.Statfs_t
		ok bool
	}
	got := make(chan measured, len(table))
	for i, t := range table {
		go func() {
			var st unix.Statfs_t
			err := unix.Statfs(t.Path, &st)
			got <- measured{i, st, err == nil}
		}()
	}
	late := time.After(time.Second)
	answered := map[int]bool{}
	for range table {
		select {
		case r := <-got:
			answered[r.i] = true
			if r.ok {
				table[r.i].Total = r.st.Blocks * uint64(r.st.Bsize)
				table[r.i].Free = r.st.Bavail * uint64(r.st.Bsize)
				table[r.i].Inodes, table[r.i].InodesFree = r.st.Files, r.st.Ffree
			}
			continue
		case <-late:
		}
		break
	}
	var out []agent.Mount
	for i, t := range table {
		if t.Total > 0 || !answered[i] {
			out = append(out, t)
		}
	}
	return out
}

// mountOf finds the mount a path lies on, or would lie on.
func (m machine) mountOf(p string, table []agent.Mount) (agent.Mount, bool) {
	real := p
	for at := p; ; at = filepath.Dir(at) {
		r, err := filepath.EvalSymlinks(m.Path(at))
		if err == nil {
			real = filepath.Join("/", strings.TrimPrefix(r, m.Root), strings.TrimPrefix(p, at))
			break
		}
		if !errors.Is(err, fs.ErrNotExist) && !files.IsNotDir(err) || at == "/" {
			break
		}
	}
	var best agent.Mount
	found := false
	for _, t := range table {
		if t.Path == "/" || t.Path == real || strings.HasPrefix(real, t.Path+"/") {
			if !found || len(t.Path) >= len(best.Path) {
				best, found = t, true
			}
		}
	}
	return best, found
}
