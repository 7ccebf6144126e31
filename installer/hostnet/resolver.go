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

// maxServers is how many name servers a resolver asks: kubelet and libc ignore those that follow.
const maxServers = 3

// settleResolver writes the file of name servers for pods on a host, [site.Site.ResolvConf]. It counts the change.
func (n Net) settleResolver(ctx context.Context, t *fleet.Target) (changes int, err error) {
	file := resolver(t.Facts.ResolvFiles, t.IP)
	file.Path = n.ResolvConf()
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{file})
	if err != nil {
		return 0, fmt.Errorf("write the name servers of pods: %w", err)
	}
	return len(changed), nil
}

// resolver chooses what the pods of a host get as resolv.conf: a link to the first file that serves pods, or a file of the
// servers that do.
func resolver(files []agent.ResolvFile, host netip.Addr) agent.File {
	var servers, rest []string
	for _, f := range files {
		usable := slices.DeleteFunc(slices.Clone(f.Servers), func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err != nil || !a.Unmap().Is4() // pods have IPv4 addresses only
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
		// CoreDNS does not start with nothing to forward to. With a server that refuses at once it serves the cluster's names.
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
