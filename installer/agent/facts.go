package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts looks at this host and changes nothing. What cannot be found out is left at its zero value: a
// preflight must report the rest.
func (m machine) facts(ctx context.Context, q FactsRequest, _ *answers) (any, error) {
	started := time.Now()
	f := Facts{Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Root: os.Geteuid() == 0}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("look at the host: %w", err)
	}
	f.Hostname, f.Kernel = unix.ByteSliceToString(uts.Nodename[:]), unix.ByteSliceToString(uts.Release[:])

	f.BootName = m.bootName()
	f.TransientName = !strings.EqualFold(f.BootName, f.Hostname)
	// Nameservers that do not answer take their second while the rest is looked at.
	f.ResolvFiles = m.resolvFiles()
	dns := make(chan struct{})
	go func() {
		defer close(dns)
		f.Nameservers = askAll(ctx, nameservers(f.ResolvFiles))
	}()
	f.ResolvesOwnName = m.resolves(ctx, f.Hostname)

	f.OS = m.osName()
	f.MemoryBytes = m.memory()
	f.Swap = len(m.lines("/proc/swaps")) > 1
	f.SELinux = m.selinux()
	f.MachineID = m.line("/etc/machine-id")
	f.ProductUUID = m.line("/sys/class/dmi/id/product_uuid")
	f.Hosts = ourHosts(m.text(hostsPath))
	m.mountFacts(&f, q.Paths)
	f.Filled = m.filled(q.Paths)
	m.networkFacts(&f)
	routeFacts(&f, q.Networks)
	f.Modules = map[string]bool{}
	for _, name := range q.Modules {
		f.Modules[name] = m.hasModule(ctx, name, f.Kernel)
	}
	f.Tools = map[string]bool{}
	path := fullPath(os.Getenv("PATH"))
	for _, name := range q.Tools {
		_, err := findIn(name, path)
		f.Tools[name] = err == nil
	}
	f.Runtimes = m.foreignRuntimes()
	f.Kubernetes = m.kubernetesTraces()
	m.kubernetesPlaces(&f)
	m.siteFacts(ctx, &f)
	m.lifeFacts(ctx, q, &f)
	f.Listeners = m.listeners(q.Ports)
	if q.Sync != "" && checkPath(q.Sync) == nil {
		middle, p99 := m.syncTimes(q.Sync)
		f.SyncMicros, f.Sync99Micros = middle.Microseconds(), p99.Microseconds()
	}
	f.Dirs = m.dirs(q.Dirs)
	<-dns
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// The middle of the call, as the caller compares with the middle of its own wait.
	f.UnixNano = started.Add(time.Since(started) / 2).UnixNano()
	return f, nil
}

// text reads a small file; empty if it cannot be.
func (m machine) text(name string) string {
	text, err := readRegular(m.path(name), maxHosts)
	if err != nil {
		return ""
	}
	return string(text)
}

func (m machine) line(name string) string {
	first, _, _ := strings.Cut(m.text(name), "\n")
	return strings.TrimSpace(first)
}

func (m machine) lines(name string) []string {
	return strings.FieldsFunc(m.text(name), func(r rune) bool { return r == '\n' })
}

func (m machine) exists(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

func (m machine) osName() string {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		for _, l := range m.lines(file) {
			if v, ok := strings.CutPrefix(l, "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return ""
}

func (m machine) memory() uint64 {
	for _, l := range m.lines("/proc/meminfo") {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 53)
			return kib << 10
		}
	}
	return 0
}

func (m machine) selinux() string {
	switch m.line("/sys/fs/selinux/enforce") {
	case "1":
		return "enforcing"
	case "0":
		return "permissive"
	}
	return "disabled"
}

// mountFacts fills what the mount table tells: disks and control groups.
func (m machine) mountFacts(f *Facts, paths []string) {
	table, err := m.mountTable()
	if err != nil {
		return
	}
	f.Mounts = sized(slices.Clone(table))
	f.Disks = map[string]Mount{}
	for _, p := range paths {
		if checkPath(p) != nil {
			continue
		}
		if mount, ok := m.mountOf(p, f.Mounts); ok {
			f.Disks[p] = mount
		}
	}
	f.CgroupVersion, f.Controllers = m.cgroups(table)
}

// filled tells which paths have something in them.
func (m machine) filled(paths []string) map[string]bool {
	out := map[string]bool{}
	for _, p := range paths {
		if checkPath(p) != nil {
			continue
		}
		info, err := os.Stat(m.path(p))
		if err != nil {
			continue
		}
		if !info.IsDir() {
			out[p] = true
			continue
		}
		if dir, err := os.Open(m.path(p)); err == nil {
			_, err = dir.Readdirnames(1)
			out[p] = err == nil
			dir.Close()
		}
	}
	return out
}

// cgroups gives the version in use, and its controllers. A host with both hierarchies (hybrid) uses version 1.
func (m machine) cgroups(table []Mount) (version int, controllers []string) {
	known := map[string]bool{}
	for i, l := range m.lines("/proc/cgroups") {
		if f := strings.Fields(l); i > 0 && len(f) == 4 && f[3] == "1" {
			known[f[0]] = true
		}
	}
	for _, t := range table {
		switch {
		case t.Type == "cgroup2" && t.Path == "/sys/fs/cgroup":
			return 2, strings.Fields(m.text("/sys/fs/cgroup/cgroup.controllers"))
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

func (m machine) glob(pattern string) []string {
	found, _ := filepath.Glob(m.path(pattern))
	for i, name := range found {
		found[i] = strings.TrimPrefix(name, m.root)
	}
	return found
}
