// Package preflight judges hosts: facts that were read and settings that were rendered go in, problems with their remedies come
// out. It asks nobody and changes nothing.
package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// Limits of the checks.
const (
	maxSkew       = 30 * time.Second // certificates are backdated by more; etcd and leases want less
	maxOwnSkew    = 12 * time.Hour   // between this machine and the hosts: certificates are backdated by a day
	minMemory     = 1700 << 20       // kubeadm's own minimum for a control plane
	minNodeMemory = 700 << 20
	minCPUs       = 2 // kubeadm's own minimum for a control plane
	minInodes     = 50_000
)

// Modules are the kernel modules that containers or their network need. ip_vs is not among them: the cluster works without.
func Modules() []string { return []string{"overlay", "br_netfilter", "nf_conntrack"} }

// Tools are the programs that the images' scripts, kubelet and kubeadm call.
func Tools() []string { return []string{"bash", "tar", "systemctl", "iptables", "mount"} }

// Ports lists the ports that must be free on a host.
func Ports(master bool, registryPort int) []int {
	node := []int{6443, 10248, 10249, 10250, 10256}
	if master {
		return append(node, 2379, 2380, 2381, 10257, 10259, registryPort)
	}
	return node
}

// Host is a host as it is judged.
type Host struct {
	IP           string
	Master       bool
	Begun        bool // an earlier run began this cluster there: its own ports, files and runtime are no problem
	Facts        agent.Facts
	Skew         time.Duration // against the middle of all hosts
	Alone        bool          // there is no other host to compare with
	Arch         string        // of the bundle
	RegistryPort int
	Needs        Needs
	Settings     Settings
	Direct       []string // what containerd and kubelet must reach without a proxy
	Services     []string // what other services should reach without one
	Shielded     bool     // the images' units take no proxy
}

// Judge judges the facts of one host.
func Judge(v Host) []Problem {
	var out []Problem
	add := v.adder(&out)
	f := v.Facts
	if f.Arch != v.Arch {
		add(false, "architecture", "use a bundle built with --platform linux/"+f.Arch, "the host is %s, the bundle is for %s", f.Arch, v.Arch)
	}
	machineProblems(v, add)
	nameProblems(v, add)
	for _, mod := range Modules() {
		if has, asked := f.Modules[mod]; asked && !has {
			add(true, "module", "install the kernel's full module package if networking fails", "the kernel has no %s (or it is built in without a trace)", mod)
		}
	}
	for _, tool := range Tools() {
		if has, asked := f.Tools[tool]; asked && !has {
			add(false, "tool", "install the distribution's package that has "+tool, "%s is missing; the images' scripts and kubelet need it", tool)
		}
	}
	cgroupProblems(v, add)
	siteProblems(v, add)
	out = append(out, mountProblems(v)...)
	if f.SELinux == "enforcing" {
		add(true, "selinux", "install container-selinux; where pods are still denied (ausearch -m avc), set it permissive: setenforce 0", "SELinux enforces, and is left as it is")
	}
	if has, asked := f.Tools["apparmor_parser"]; f.AppArmor && asked && !has {
		add(true, "apparmor", "install the distribution's package apparmor", "the kernel has AppArmor, but apparmor_parser is missing: containers run unconfined, and pods that ask for a profile do not start")
	}
	portProblems(v, add)
	out = append(out, firewallProblems(v)...)
	if v.Begun {
		return out
	}
	return append(out, occupied(v)...)
}

type adder func(warning bool, check, remedy, format string, args ...any)

// adder gives a function that adds problems of the host to out.
func (v Host) adder(out *[]Problem) adder {
	return func(warning bool, check, remedy, format string, args ...any) {
		*out = append(*out, Problem{Host: v.IP, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning})
	}
}

func machineProblems(v Host, add adder) {
	f := v.Facts
	if v.Skew.Abs() > maxSkew {
		way := "ahead of"
		if v.Skew < 0 {
			way = "behind"
		}
		service, remedy := "no time service runs there", "set the clock (date -s), and run chrony or another time service on all hosts, against one server"
		if f.TimeService != "" {
			service, remedy = f.TimeService+" runs there", "give its time service a server that it reaches, or set the clock (date -s)"
			if !f.ClockSynced {
				service += " but has not set the clock"
			}
		}
		add(false, "clock", remedy, "the clock is %s %s the other hosts'; %s", v.Skew.Abs().Round(time.Second), way, service)
	} else if f.TimeService == "" && !f.ClockSynced && !v.Alone {
		add(true, "clock", "run chrony or another time service on all hosts", "nothing keeps the clock right; it will drift from the other hosts'")
	}
	minimum := uint64(minNodeMemory)
	if v.Master {
		minimum = minMemory
	}
	if f.MemoryBytes < minimum {
		add(v.Settings.ignores("Mem") && v.Master, "memory", "give the host more memory", "%d MiB of memory, at least %d MiB are needed", f.MemoryBytes>>20, minimum>>20)
	}
	if f.CPUs < minCPUs && v.Master {
		add(v.Settings.ignores("NumCPU"), "cpu", "give the host a second CPU, or list NumCPU in ignorePreflightErrors of kubeadm's InitConfiguration and JoinConfiguration, and use --ignore-check cpu", "one CPU: kubeadm refuses a master with less than %d", minCPUs)
	}
	if f.Swap {
		add(true, "swap", "nothing to do: the image's init script turns swap off; remove it from /etc/fstab to keep it off without us", "swap is on")
	}
}

func nameProblems(v Host, add adder) {
	f := v.Facts
	if !f.ResolvesOwnName {
		add(true, "own-name", "nothing to do: the installer writes it into /etc/hosts", "the host does not resolve its own name")
	}
	hostNameProblems(f, add)
	var silent []string
	answers := false
	for _, s := range f.Nameservers {
		if s.Silent {
			silent = append(silent, s.Address)
		}
		answers = answers || s.Answers
	}
	if len(silent) == 0 {
		return
	}
	cost, rounds := len(silent)*f.Lookup.TimeoutSeconds, "before another answers"
	if !answers {
		cost, rounds = cost*f.Lookup.Attempts, "before it fails"
	}
	add(true, "nameserver", "take it out of /etc/resolv.conf (or the network's configuration) when it is not meant to answer; the cluster works without",
		"name server %s never answers: a lookup of a foreign name waits up to %d s %s, on the host and in pods", strings.Join(silent, ", "), cost, rounds)
}

// The minor versions of the first kubelet that refuses version 1 of control groups, and of the first that warns.
const (
	cgroupV1Refused = 35
	cgroupV1Old     = 31
)

func cgroupProblems(v Host, add adder) {
	f := v.Facts
	const boot = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line (grubby --update-kernel=ALL --args=…, or update-grub)"
	switch {
	case f.CgroupVersion == 0:
		add(false, "cgroup", "mount the cgroup2 file system on /sys/fs/cgroup, as systemd does", "no control groups are mounted: kubelet cannot limit anything")
	case f.CgroupVersion == 1 && v.Settings.Minor >= cgroupV1Refused && v.Settings.FailCgroupV1:
		add(false, "cgroup", boot+", or write failCgroupV1: false into the KubeletConfiguration of the Clusterfile", "the host uses version 1 of control groups, which kubelet refuses from v1.%d on", cgroupV1Refused)
	case f.CgroupVersion == 1 && v.Settings.Minor >= cgroupV1Old:
		add(true, "cgroup", boot, "the host uses version 1 of control groups, which Kubernetes will drop")
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if len(f.Controllers) > 0 && !slices.Contains(f.Controllers, c) {
			add(false, "cgroup", "switch it on at boot: cgroup_enable="+c+" on the kernel's command line", "the kernel does not offer the control group controller %s", c)
		}
	}
}

// occupied finds what others have on a host where this cluster was not begun.
func occupied(v Host) []Problem {
	var out []Problem
	add := v.adder(&out)
	for _, rt := range v.Facts.Runtimes {
		add(false, "runtime", "remove it (and its data) first; the bundle brings its own", "a container runtime is there already: %s", rt)
	}
	for _, k := range v.Facts.Kubernetes {
		add(false, "kubernetes", "if it is not needed any more: kubeadm reset, or run `sealinstall reset` of the cluster it belongs to", "traces of another cluster: %s", k)
	}
	for _, c := range v.Facts.CNI {
		if link, ok := strings.CutPrefix(c, "network link "); ok {
			add(true, "leftovers", "ip link delete "+link, "the network of an earlier cluster left the link %s: with other addresses on it, pods get no network", link)
			continue
		}
		add(true, "leftovers", "move it away: the runtime takes the first file by name", "a network configuration for pods is there already: %s", c)
	}
	return out
}

// maxNodeName is the longest value of a label: every node has its name in kubernetes.io/hostname.
const maxNodeName = 63

// hostNameProblems judges the name that becomes that of the node, in lower case: names with capitals are the rule at
// some sites, and may not be changed there.
func hostNameProblems(f agent.Facts, add adder) {
	const remedy = "set one of letters, digits, '-' and '.', at most 63 in all: hostnamectl set-hostname NAME"
	name := strings.ToLower(f.Hostname)
	switch {
	case len(name) > maxNodeName:
		add(false, "host-name", remedy, "the host name %s has %s; that of a Kubernetes node has at most %d", f.Hostname, count.Of(len(name), "character"), maxNodeName)
	case !validHostname(name):
		add(false, "host-name", remedy, "%q cannot be the host name of a Kubernetes node", f.Hostname)
	case name == "localhost" || strings.HasPrefix(name, "localhost."):
		add(false, "host-name", remedy, "the host name is %s, which every host has", f.Hostname)
	case f.TransientName:
		has := "/etc/hostname has none"
		if f.BootName != "" {
			has = "/etc/hostname says " + f.BootName
		}
		add(true, "host-name", "make it last: hostnamectl set-hostname "+f.Hostname, "the host name %s is transient, and may be another after a boot, when kubelet would be another node: %s", f.Hostname, has)
	}
}

// validHostname judges a name in lower case.
func validHostname(name string) bool {
	if len(name) == 0 || len(name) > maxNodeName {
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
