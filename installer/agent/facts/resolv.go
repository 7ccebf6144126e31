package facts

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Files that name the name servers of a host. If /etc/resolv.conf names a resolver on the loopback, the servers that this one
// asks are in a file of its own.
const (
	etcResolv      = "/etc/resolv.conf"
	resolvedResolv = "/run/systemd/resolve/resolv.conf"
	managerResolv  = "/run/NetworkManager/no-stub-resolv.conf"
)

// resolvFiles reads the files that apply to this host.
func (m machine) resolvFiles() []agent.ResolvFile {
	var out []agent.ResolvFile
	add := func(name string) {
		if m.Exists(name) {
			out = append(out, parseResolv(name, m.Lines(name)))
		}
	}
	add(etcResolv)
	lines := m.Lines(etcResolv)
	asks := func(servers ...string) bool {
		return slices.ContainsFunc(lines, func(l string) bool {
			f := strings.Fields(l)
			return len(f) > 1 && f[0] == "nameserver" && slices.Contains(servers, f[1])
		})
	}
	silent := !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "nameserver") })
	// A host without servers in /etc/resolv.conf may ask systemd-resolved past it (nss-resolve).
	if silent || asks("127.0.0.53", "127.0.0.54") {
		add(resolvedResolv)
	}
	if asks("127.0.0.1", "127.0.1.1", "127.0.0.53", "::1") {
		add(managerResolv)
	}
	return out
}

// parseResolv reads a file in the form of resolv.conf. Pods cannot use a server on the loopback, which would be the pod itself
// (CoreDNS would forward to itself), nor one with a zone, which is for a link that pods do not have.
func parseResolv(name string, lines []string) agent.ResolvFile {
	out := agent.ResolvFile{Path: name, Servers: []string{}}
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "search", "domain", "options":
			out.Rest = append(out.Rest, strings.Join(f, " "))
		case "nameserver":
			a, err := netip.ParseAddr(f[1])
			if err != nil {
				continue
			}
			if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is6() && a.IsLinkLocalUnicast() {
				out.Others = true
			} else if !slices.Contains(out.Servers, f[1]) {
				out.Servers = append(out.Servers, f[1])
			}
		}
	}
	return out
}

// nameservers lists the name servers of all files that pods can use.
func nameservers(files []agent.ResolvFile) []string {
	out := []string{}
	for _, f := range files {
		for _, s := range f.Servers {
			if !slices.Contains(out, s) && len(out) < maxNameservers {
				out = append(out, s)
			}
		}
	}
	return out
}
