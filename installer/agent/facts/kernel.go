package facts

import (
	"context"
	"slices"
	"strings"
	"time"
)

// hasModule tells whether the kernel has a module: loaded, built in, or there to be loaded.
func (m machine) hasModule(ctx context.Context, name, release string) bool {
	name = underscored(name)
	for _, l := range m.Lines("/proc/modules") {
		if loaded, _, _ := strings.Cut(l, " "); underscored(loaded) == name {
			return true
		}
	}
	// A module that is built in shows under /sys only if it has parameters, and in modules.builtin only if the
	// kernel's package is installed; so some are known by what they bring.
	if m.Exists("/sys/module/"+name) || m.brings(name) {
		return true
	}
	for _, base := range []string{"/lib/modules/", "/usr/lib/modules/"} {
		for _, list := range []string{"/modules.builtin", "/modules.dep"} {
			for _, l := range m.Lines(base + release + list) {
				file, _, _ := strings.Cut(l, ":")
				if moduleName(file) == name {
					return true
				}
			}
		}
	}
	// modprobe also knows aliases and other directories. It loads nothing.
	_, found := m.ask(ctx, 5*time.Second, "modprobe", "-n", "-q", "--", name)
	return found
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the name of the module in a file: kernel/net/bridge/br_netfilter.ko.xz.
func moduleName(file string) string {
	file = file[strings.LastIndexByte(file, '/')+1:]
	name, _, _ := strings.Cut(file, ".ko")
	return underscored(strings.TrimSpace(name))
}

// brings tells whether the kernel has what a module adds to /proc.
func (m machine) brings(name string) bool {
	switch name {
	case "br_netfilter":
		return m.Exists("/proc/sys/net/bridge/bridge-nf-call-iptables")
	case "ip_vs":
		return m.Exists("/proc/net/ip_vs")
	case "nf_conntrack":
		return m.Exists("/proc/sys/net/netfilter/nf_conntrack_max")
	case "overlay":
		return slices.ContainsFunc(m.Lines("/proc/filesystems"), func(l string) bool {
			return strings.HasSuffix(l, "\toverlay")
		})
	}
	return false
}
