package files

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

const mountsPath = "/proc/self/mounts"

// Mounts reads the mounts of this process. The last one on a path is the one that shows.
func (m Machine) Mounts() ([]agent.Mount, error) {
	text, err := os.ReadFile(m.Path(mountsPath))
	if err != nil {
		return nil, err
	}
	var out []agent.Mount
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		mount := agent.Mount{Device: unescape(f[0]), Path: unescape(f[1]), Type: f[2], Options: strings.Split(f[3], ",")}
		out = slices.DeleteFunc(out, func(old agent.Mount) bool { return old.Path == mount.Path })
		out = append(out, mount)
	}
	return out, nil
}

// MountPoints lists where something is mounted.
func (m Machine) MountPoints() ([]string, error) {
	table, err := m.Mounts()
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
