package facts

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// listeners gives who has ports. Only root sees all of it.
func (m machine) listeners(ports []int) []agent.Listener {
	inodes := map[string]int{} // of a socket -> its port
	for _, l := range append(m.Lines("/proc/net/tcp"), m.Lines("/proc/net/tcp6")...) {
		if port, inode, ok := parseListener(l); ok && slices.Contains(ports, port) {
			inodes[inode] = port
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	found := map[int]agent.Listener{}
	for _, port := range inodes {
		found[port] = agent.Listener{Port: port}
	}
	for _, dir := range m.Glob("/proc/[0-9]*") {
		entries, err := os.ReadDir(m.Path(dir + "/fd"))
		if err != nil {
			continue // it ended
		}
		for _, e := range entries {
			to, err := os.Readlink(m.Path(filepath.Join(dir, "fd", e.Name())))
			if err != nil {
				continue
			}
			inode, ok := strings.CutPrefix(to, "socket:[")
			port, ours := inodes[strings.TrimSuffix(inode, "]")]
			if ok && ours && found[port].Process == "" {
				found[port] = agent.Listener{Port: port, Process: m.Line(dir + "/comm"), Unit: unitOf(m.Lines(dir + "/cgroup"))}
			}
		}
	}
	var out []agent.Listener
	for _, l := range found {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b agent.Listener) int { return a.Port - b.Port })
	return out
}

// parseListener reads a line of /proc/net/tcp: the port of a socket that listens, and its inode.
func parseListener(line string) (port int, inode string, ok bool) {
	const stateListen = "0A"
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != stateListen {
		return 0, "", false
	}
	_, hex, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return int(n), f[9], err == nil && f[9] != "0"
}

// unitOf reads the unit of a process off its control groups.
func unitOf(groups []string) string {
	unit := ""
	for _, l := range groups {
		parts := strings.SplitN(l, ":", 3)
		if len(parts) < 3 {
			continue
		}
		for part := range strings.SplitSeq(parts[2], "/") {
			if strings.HasPrefix(part, "kubepods") {
				return "kubepods"
			}
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".socket") {
				unit = part
			}
		}
	}
	return unit
}
