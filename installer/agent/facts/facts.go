// Package facts looks at a host and changes nothing.
package facts

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/installer/agent/programs"
)

// machine is the host that is looked at.
type machine struct {
	files.Machine
	// ask runs a program that only reads, and tells whether it succeeded in time.
	ask func(ctx context.Context, within time.Duration, program string, args ...string) ([]byte, bool)
	// link tells whether there is a network link of that name.
	link func(name string) bool
}

// Look gives the facts of this host, except for those that [Left] adds. What cannot be found out keeps its zero value, so that
// a preflight can report the rest.
func Look(ctx context.Context, q agent.FactsRequest) (agent.Facts, error) {
	m := machine{files.At(""), ask, link}
	f := agent.Facts{Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Root: os.Geteuid() == 0}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return agent.Facts{}, fmt.Errorf("look at the host: %w", err)
	}
	f.Hostname, f.Kernel = unix.ByteSliceToString(uts.Nodename[:]), unix.ByteSliceToString(uts.Release[:])

	f.BootName = m.bootName()
	f.TransientName = !strings.EqualFold(f.BootName, f.Hostname)
	// In the background, since a name server that does not answer takes a second.
	f.ResolvFiles = m.resolvFiles()
	dns := make(chan struct{})
	go func() {
		defer close(dns)
		if !q.Lean {
			f.Nameservers = askAll(ctx, nameservers(f.ResolvFiles))
		}
	}()
	if !q.Lean {
		f.ResolvesOwnName = m.resolves(ctx, f.Hostname)
	}

	f.OS = m.osName()
	f.MemoryBytes = m.memory()
	f.Swap = len(m.Lines("/proc/swaps")) > 1
	f.SELinux = m.selinux()
	f.MachineID = m.Line("/etc/machine-id")
	f.ProductUUID = m.Line("/sys/class/dmi/id/product_uuid")
	m.mountFacts(&f, q.Paths)
	m.networkFacts(&f)
	routeFacts(&f, q.Networks)
	f.Modules = map[string]bool{}
	for _, name := range q.Modules {
		f.Modules[name] = m.hasModule(ctx, name, f.Kernel)
	}
	f.Tools = map[string]bool{}
	for _, name := range q.Tools {
		_, err := programs.Find(name)
		f.Tools[name] = err == nil
	}
	if !q.Lean {
		f.Runtimes = m.foreignRuntimes()
		m.siteFacts(ctx, &f)
	}
	m.lifeFacts(ctx, q, &f)
	f.Listeners = m.listeners(q.Ports)
	if q.Sync != "" && files.CheckPath(q.Sync) == nil {
		middle, p99 := m.syncTimes(q.Sync)
		f.SyncMicros, f.Sync99Micros = middle.Microseconds(), p99.Microseconds()
	}
	<-dns
	if ctx.Err() != nil {
		return agent.Facts{}, context.Cause(ctx)
	}
	return f, nil
}

// Left adds to f what clusters, sites and installers have left in the files of a host.
func Left(in files.Machine, q agent.FactsRequest, f *agent.Facts) {
	m := machine{Machine: in}
	f.Hosts = m.Hosts()
	f.Filled = m.Filled(q.Paths)
	f.Kubernetes = m.kubernetesTraces()
	m.kubernetesPlaces(f)
	f.LockedBy, f.LockStep = m.lockHolder(q.Lock)
	f.Dirs = m.Dirs(q.Dirs)
}

func (m machine) osName() string {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		for _, l := range m.Lines(file) {
			if v, ok := strings.CutPrefix(l, "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return ""
}

func (m machine) memory() uint64 {
	for _, l := range m.Lines("/proc/meminfo") {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 53)
			return kib << 10
		}
	}
	return 0
}

func (m machine) selinux() string {
	switch m.Line("/sys/fs/selinux/enforce") {
	case "1":
		return "enforcing"
	case "0":
		return "permissive"
	}
	return "disabled"
}

// bootName is the host name that systemd reads from a file at boot; empty if there is none. SUSE had a file of its own.
func (m machine) bootName() string {
	for _, file := range []string{"/etc/hostname", "/etc/HOSTNAME"} {
		for _, l := range m.Lines(file) {
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
				return l
			}
		}
	}
	return ""
}
