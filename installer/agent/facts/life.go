package facts

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// socketPatience is how long a service on this host may take to accept a connection.
const socketPatience = 2 * time.Second

// lifeFacts finds out which of the sockets and programs asked for are alive.
func (m machine) lifeFacts(ctx context.Context, q agent.FactsRequest, f *agent.Facts) {
	f.Sockets, f.Programs = map[string]bool{}, map[string]bool{}
	for _, name := range q.Sockets {
		f.Sockets[name] = m.accepts(ctx, name)
	}
	if len(q.Programs) > 0 {
		processes := m.processes()
		for _, name := range q.Programs {
			f.Programs[name] = processes[name[:min(len(name), 15)]] != ""
		}
	}
}

// accepts tells whether a unix socket of this host takes connections.
func (m machine) accepts(ctx context.Context, name string) bool {
	if files.CheckPath(name) != nil {
		return false
	}
	d := net.Dialer{Timeout: socketPatience}
	c, err := d.DialContext(ctx, "unix", m.Path(name))
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// lockHolder gives the holder of the lock at a path, and the step at which that one works: the lines of its file, if the kernel
// has a lock on that. The file of a
// holder that was killed may remain without a lock. It does not try to take the lock: another installer that does so at this
// moment must get it.
func (m machine) lockHolder(name string) (holder, step string) {
	if name == "" || files.CheckPath(name) != nil {
		return "", ""
	}
	var s unix.Stat_t
	if unix.Stat(m.Path(name), &s) != nil {
		return "", ""
	}
	text, err := os.ReadFile("/proc/locks") // of the kernel, also where a test has another root
	if err != nil || !holdsLock(string(text), uint64(s.Dev), s.Ino) {
		return "", ""
	}
	lines := strings.SplitN(m.Text(name), "\n", 3) // what follows is left of a longer step
	if lines[0] == "" {
		return "an installer that has just begun", ""
	}
	if len(lines) > 1 {
		step = lines[1]
	}
	return lines[0], step
}

// holdsLock reads /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 00:1b:567 0 EOF"; lines of processes that wait for the lock have
// an arrow.
func holdsLock(table string, device, inode uint64) bool {
	want := fmt.Sprintf("%02x:%02x:%s", unix.Major(device), unix.Minor(device), strconv.FormatUint(inode, 10))
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && f[3] == "WRITE" && f[5] == want {
			return true
		}
	}
	return false
}
