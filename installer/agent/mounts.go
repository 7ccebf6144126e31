package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const mountsPath = "/proc/self/mounts"

// mountTable reads the mounts of this process. The last one on a path is the one that shows.
func (m machine) mountTable() ([]Mount, error) {
	text, err := os.ReadFile(m.path(mountsPath))
	if err != nil {
		return nil, err
	}
	var out []Mount
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		mount := Mount{Device: unescape(f[0]), Path: unescape(f[1]), Type: f[2], Options: strings.Split(f[3], ",")}
		out = slices.DeleteFunc(out, func(old Mount) bool { return old.Path == mount.Path })
		out = append(out, mount)
	}
	return out, nil
}

func (m machine) mountPoints() ([]string, error) {
	table, err := m.mountTable()
	var out []string
	for _, t := range table {
		out = append(out, t.Path)
	}
	return out, err
}

// unescape undoes the octal escapes (\040 for a space) of the kernel.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// sized are the mounts with blocks of their own, with their sizes. A network file system whose server is
// away would hang: what has not answered within a second is told without a size.
func sized(table []Mount) []Mount {
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
	var out []Mount
	for i, t := range table {
		if t.Total > 0 || !answered[i] {
			out = append(out, t)
		}
	}
	return out
}

// mountOf finds the mount a path lies on, or would lie on.
func (m machine) mountOf(p string, table []Mount) (Mount, bool) {
	real := p
	for at := p; ; at = filepath.Dir(at) {
		r, err := filepath.EvalSymlinks(m.path(at))
		if err == nil {
			real = filepath.Join("/", strings.TrimPrefix(r, m.root), strings.TrimPrefix(p, at))
			break
		}
		if !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) || at == "/" {
			break
		}
	}
	var best Mount
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
