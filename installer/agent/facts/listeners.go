package facts

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// listeners gives the listeners of ports. Only root can see all of them.
func (m machine) listeners(ports []int) []agent.Listener {
	inodes := map[string]int{} // of a socket -> its port
	for _, l := range append(m.Lines("/proc/net/tcp"), m.Lines("/proc/net/tcp6")...) {
		if port, inode, ok := parseListener(l); ok && inode != "" && inode != "0" && slices.Contains(ports, port) {
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
	return slices.SortedFunc(maps.Values(found), func(a, b agent.Listener) int { return a.Port - b.Port })
}

// parseListener reads a line of /proc/net/tcp: the port of a socket that listens, and its inode; "0" or empty if it has none.
func parseListener(line string) (port int, inode string, ok bool) {
	const stateListen = "0A"
	f := strings.Fields(line)
	if len(f) < 4 || f[3] != stateListen {
		return 0, "", false
	}
	if len(f) > 9 {
		inode = f[9]
	}
	_, hex, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return int(n), inode, err == nil
}

// unitOf gives the unit of a process from the lines of its control groups.
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
