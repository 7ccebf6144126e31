package steps

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/node"
)

// Problem is one thing that stands in the way on one host.
type Problem struct {
	Host    string `json:"host"`
	Check   string `json:"check"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	Warning bool   `json:"warning,omitempty"` // told, but nothing waits for it
}

// PreflightError lists every problem of every host. No host was changed.
type PreflightError struct{ Problems []Problem }

func (e *PreflightError) Error() string {
	var b strings.Builder
	hosts := map[string]bool{}
	for _, p := range e.Problems {
		hosts[p.Host] = true
	}
	fmt.Fprintf(&b, "%d problems on %d hosts; no host was changed", len(e.Problems), len(hosts))
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %-15s %-12s %s\n  %-15s %-12s remedy: %s", p.Host, p.Check, p.Message, "", "", p.Remedy)
	}
	return b.String()
}

// Limits of the checks.
const (
	maxSkew       = 30 * time.Second // certificates are backdated by more; etcd and leases want less
	minMemory     = 1700 << 20       // kubeadm's own minimum for a control plane
	minNodeMemory = 700 << 20
	diskMargin    = 2 << 30 // left free for logs, etcd and images' snapshots
)

// portsOf lists the ports that must be free on a host.
func portsOf(master bool) []int {
	if master {
		return []int{6443, 2379, 2380, 10250, 10257, 10259, 5000}
	}
	return []int{10250, 6443}
}

// need is what an installation takes on a host, in bytes by directory.
type need map[string]int64

// problemsOf judges the facts of one host. On a host where this cluster was
// begun before, its own ports, files and runtime are no problem.
func problemsOf(ip string, master, begun bool, f node.Facts, arch string, n need, skew time.Duration) []Problem {
	var out []Problem
	add := func(warning bool, check, remedy, format string, args ...any) {
		out = append(out, Problem{Host: ip, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning})
	}
	if f.Arch != arch {
		add(false, "architecture", "use a bundle built with --platform linux/"+f.Arch, "the host is %s, the bundle is for %s", f.Arch, arch)
	}
	if skew.Abs() > maxSkew {
		add(false, "clock", "set the clock, and run chrony or another time service on all hosts", "the clock is %s off the middle of all hosts", skew.Round(time.Second))
	}
	minimum := uint64(minNodeMemory)
	if master {
		minimum = minMemory
	}
	if f.MemoryBytes < minimum {
		add(false, "memory", "give the host more memory", "%d MiB of memory, at least %d MiB are needed", f.MemoryBytes>>20, minimum>>20)
	}
	if f.CPUs < 2 && master {
		add(true, "cpu", "give the host a second CPU", "one CPU: kubeadm wants two on a master")
	}
	if f.Swap {
		add(true, "swap", "nothing to do: the image's init script turns swap off; remove it from /etc/fstab to keep it off without us", "swap is on")
	}
	if !f.ResolvesOwnName {
		add(true, "own name", "nothing to do: the installer writes it into /etc/hosts", "the host does not resolve its own name %s", f.Hostname)
	}
	if !validHostname(f.Hostname) {
		add(false, "host name", "set one of letters a-z, digits, '-' and '.': hostnamectl set-hostname NAME", "%q cannot be the name of a Kubernetes node", f.Hostname)
	}
	for _, mod := range []string{"overlay", "br_netfilter"} {
		if has, asked := f.Modules[mod]; asked && !has {
			add(true, "module", "install the kernel's full module package if networking fails", "the kernel has no %s (or it is built in without a trace)", mod)
		}
	}
	for _, tool := range []string{"bash", "tar", "systemctl", "iptables", "mount"} {
		if has, asked := f.Tools[tool]; asked && !has {
			add(false, "tool", "install the distribution's package that has "+tool, "%s is missing; the images' scripts and kubelet need it", tool)
		}
	}
	out = append(out, diskProblems(ip, f, n)...)
	if begun {
		return out
	}
	for _, p := range portsOf(master) {
		if slices.Contains(f.PortsInUse, p) {
			add(false, "port", fmt.Sprintf("find its owner with `ss -ltnp 'sport = :%d'` and stop it", p), "port %d is taken", p)
		}
	}
	for _, rt := range f.Runtimes {
		add(false, "runtime", "remove it (and its data) first; the bundle brings its own", "a container runtime is there already: %s", rt)
	}
	for _, k := range f.Kubernetes {
		add(false, "kubernetes", "if it is not needed any more: kubeadm reset, or run `sealinstall reset` of the cluster it belongs to", "traces of another cluster: %s", k)
	}
	return out
}

// diskProblems adds up what is needed on each mount of a host.
func diskProblems(ip string, f node.Facts, n need) []Problem {
	dirs := map[string][]string{}
	total := map[string]int64{}
	mounts := map[string]node.Mount{}
	for _, dir := range slices.Sorted(maps.Keys(n)) {
		m, ok := f.Disks[dir]
		if !ok {
			continue
		}
		dirs[m.Path] = append(dirs[m.Path], dir)
		total[m.Path] += n[dir]
		mounts[m.Path] = m
	}
	var out []Problem
	for _, p := range slices.Sorted(maps.Keys(mounts)) {
		if want := total[p] + diskMargin; int64(mounts[p].Free) < want {
			out = append(out, Problem{
				Host: ip, Check: "disk",
				Message: fmt.Sprintf("%s has %d MiB free, %d MiB are needed (%s, and %d MiB to spare)", p, mounts[p].Free>>20, want>>20, strings.Join(dirs[p], ", "), int64(diskMargin)>>20),
				Remedy:  "free some space, or mount a larger disk at one of these directories",
			})
		}
	}
	return out
}

func validHostname(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		ok := len(label) > 0 && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, c := range label {
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
		}
		if !ok {
			return false
		}
	}
	return true
}

// clusterProblems judges what only shows when hosts are seen together.
func clusterProblems(targets []*Target, vip string) []Problem {
	var out []Problem
	names := map[string][]string{}
	for _, t := range targets {
		if t.Facts.Hostname != "" {
			names[t.Facts.Hostname] = append(names[t.Facts.Hostname], t.IP.String())
		}
		for _, a := range t.Facts.Addresses {
			ip, _, _ := strings.Cut(a, "/")
			if ip == vip && !t.begun() {
				out = append(out, Problem{
					Host: t.IP.String(), Check: "vip",
					Message: "the virtual address " + vip + " is an address of this host", Remedy: "choose another with -e defaultVIP=ADDRESS",
				})
			}
		}
	}
	for _, t := range targets { // not over names: the order must be the same on every run
		ip, ips := t.IP.String(), names[t.Facts.Hostname]
		if len(ips) > 1 {
			out = append(out, Problem{
				Host: ip, Check: "host name",
				Message: fmt.Sprintf("%q is the name of %s too", t.Facts.Hostname, strings.Join(without(ips, ip), ", ")),
				Remedy:  "give each host a name of its own: hostnamectl set-hostname NAME",
			})
		}
	}
	return out
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}
