package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// maxServers is how many name servers a resolver asks; kubelet and libc leave out what comes after.
const maxServers = 3

// settleResolver puts in place what resolvConf leads to on a host, and tells whether that was another before.
func (n Net) settleResolver(ctx context.Context, t *fleet.Target) (bool, error) {
	file := resolver(t.Facts.ResolvFiles, t.IP)
	file.Path = n.ResolvConf()
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{file})
	if err != nil {
		return false, fmt.Errorf("write the name servers of pods: %w", err)
	}
	return len(changed) > 0, nil
}

// resolver chooses what pods of a host get as resolv.conf.
func resolver(files []agent.ResolvFile, host netip.Addr) agent.File {
	var servers, rest []string
	for _, f := range files {
		usable := slices.DeleteFunc(slices.Clone(f.Servers), func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err != nil || !a.Unmap().Is4() // pods have no other addresses
		})
		if len(usable) > 0 && !f.Others {
			return agent.File{Link: f.Path}
		}
		servers = append(servers, usable...)
		if rest == nil {
			rest = f.Rest
		}
	}
	if len(servers) == 0 {
		// CoreDNS does not start when it has nowhere to forward to; with a server that refuses at once it serves the
		// cluster's own names.
		return agent.File{Own: true, Mode: 0o644, Content: fmt.Appendf(nil, "# this host has no name server that pods can use; %s refuses at once\nnameserver %s\n", host, host)}
	}
	var b strings.Builder
	b.WriteString("# of this host's name servers those that pods can use; the others are the host's own\n")
	for _, s := range servers[:min(maxServers, len(servers))] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	for _, l := range rest {
		fmt.Fprintln(&b, l)
	}
	return agent.File{Own: true, Mode: 0o644, Content: []byte(b.String())}
}
