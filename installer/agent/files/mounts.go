package files

import (
	"os"
	"slices"
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

// unescape undoes the octal escapes of the kernel in its table of mounts.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace
