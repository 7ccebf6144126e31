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

// lifeFacts tells what runs of the things asked for.
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

// accepts tells whether somebody listens at a socket of this host.
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

// lockHolder gives who holds the lock at a path: what its file says, if the kernel knows of a lock on it. The file of
// one that was killed stays for a while, and holds nothing. It takes no lock to find out: another installer that asks for
// it at this moment must get it.
func (m machine) lockHolder(name string) string {
	if name == "" || files.CheckPath(name) != nil {
		return ""
	}
	var s unix.Stat_t
	if unix.Stat(m.Path(name), &s) != nil {
		return ""
	}
	text, err := os.ReadFile("/proc/locks") // of the kernel, not of a simulated machine
	if err != nil || !holdsLock(string(text), uint64(s.Dev), s.Ino) {
		return ""
	}
	holder := strings.TrimSpace(m.Text(name))
	if holder == "" {
		return "an installer that has just begun"
	}
	return holder
}

// holdsLock reads /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 00:1b:567 0 EOF"; waiting ones have an arrow.
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
