package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// dialsTo lists the ports of a host that another host dials while the cluster is made and lives.
func dialsTo(from, to *Target, registryPort int) []int {
	switch {
	case from == to:
		return nil
	case from.Master && to.Master:
		return []int{installer.APIServerPort, 2379, 2380, installer.KubeletPort, registryPort}
	case to.Master:
		return []int{installer.APIServerPort, registryPort}
	case from.Master:
		return []int{installer.KubeletPort}
	}
	return nil
}

// listens lists the ports to try on a host: those that any other host dials, without those in use. They are sorted.
func listens(to *Target, all []*Target, registryPort int) []int {
	var ports []int
	for _, from := range all {
		for _, p := range dialsTo(from, to, registryPort) {
			if !slices.Contains(ports, p) && !slices.Contains(to.Facts.PortsInUse, p) {
				ports = append(ports, p)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// TryPorts tries every connection between hosts that the cluster needs. For this it opens the ports for a short time on
// hosts where the cluster was not begun yet. What it finds are warnings where the trial itself failed.
func (f *Fleet) TryPorts(ctx context.Context, registryPort int) []preflight.Problem {
	seen := Only(f.Targets, func(t *Target) bool { return t.Looked })
	fresh := Only(seen, func(t *Target) bool { return !t.Begun() })
	var out []preflight.Problem
	for batch := range slices.Chunk(fresh, max(1, f.Jobs)) {
		if len(seen) > 1 && ctx.Err() == nil {
			out = append(out, f.tryPortsOf(ctx, seen, batch, registryPort)...)
		}
	}
	return out
}

// missed is a port of a host that was not reached, and the reason.
type missed struct {
	to   *Target
	port int
	why  string
}

// unreached are the addresses of the hosts that could not reach a port.
type unreached map[missed][]string

// reachPatience bounds the dials of one host. Many of them go on at once, and each takes three seconds at most.
const reachPatience = 30 * time.Second

// tryPortsOf tries the ports of some hosts, all at once.
func (f *Fleet) tryPortsOf(ctx context.Context, seen, batch []*Target, registryPort int) []preflight.Problem {
	word := rand.Text()
	var mu sync.Mutex
	open := map[*Target][]int{}
	listening := map[*Target]*agent.Listening{}
	err := f.Each(ctx, batch, func(ctx context.Context, t *Target) error {
		ports := listens(t, seen, registryPort)
		if len(ports) == 0 {
			return nil
		}
		l, err := t.Agent.Listen(ctx, t.IP.String(), ports, word)
		if err != nil {
			return fmt.Errorf("open ports for a short time: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		open[t], listening[t] = ports, l
		return nil
	})
	failed := unreached{}
	err = errors.Join(err, f.Each(ctx, seen, func(ctx context.Context, from *Target) error {
		ends, of := endpoints(from, batch, open, registryPort)
		if len(ends) == 0 {
			return nil
		}
		// A host that allows too few sessions at once would wait for its own listener.
		ctx, cancel := context.WithTimeoutCause(ctx, reachPatience, fmt.Errorf("no answer within %s (does its sshd allow fewer than 4 sessions at once, MaxSessions?)", reachPatience))
		defer cancel()
		found, err := from.Agent.Reach(ctx, ends, word)
		if err != nil {
			return fmt.Errorf("dial the other hosts: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range found {
			failed.add(of[m.IP], m.Port, m.Why, from.IP.String())
		}
		return nil
	}))
	for t, l := range listening {
		busy, closeErr := l.Close()
		err = errors.Join(err, t.Failed(closeErr))
		// Where another program has the port, the preflight judges that.
		maps.DeleteFunc(failed, func(m missed, _ []string) bool { return m.to == t && slices.Contains(busy, m.port) })
	}
	out := failed.problems(batch)
	for _, p := range preflight.From(err, "reach") {
		p.Warning, p.Message, p.Remedy = true, "whether the hosts reach each other could not be tried: "+p.Message, "look for firewalls between the hosts if joining fails"
		out = append(out, p)
	}
	return out
}

// endpoints lists what a host dials among the ports that are open, and the hosts by the addresses that it dials.
func endpoints(from *Target, to []*Target, open map[*Target][]int, registryPort int) ([]agent.Endpoint, map[string]*Target) {
	var ends []agent.Endpoint
	of := map[string]*Target{}
	for _, t := range to {
		of[t.IP.String()] = t
		for _, p := range dialsTo(from, t, registryPort) {
			if slices.Contains(open[t], p) {
				ends = append(ends, agent.Endpoint{IP: t.IP.String(), Port: p})
			}
		}
	}
	return ends, of
}

func (u unreached) add(to *Target, port int, why, from string) {
	m := missed{to, port, why}
	u[m] = append(u[m], from)
}

// problems gives a problem for each host and each cause, with the ports that share it.
func (u unreached) problems(order []*Target) []preflight.Problem {
	var out []preflight.Problem
	for _, t := range order {
		portsOf := map[string][]int{} // by cause
		for m, from := range u {
			if m.to == t {
				cause := "from " + installer.HostList(from) + ": " + explained(m.why)
				portsOf[cause] = append(portsOf[cause], m.port)
			}
		}
		for _, ports := range portsOf {
			slices.Sort(ports)
		}
		for _, cause := range slices.SortedFunc(maps.Keys(portsOf), func(a, b string) int {
			return cmp.Or(cmp.Compare(portsOf[a][0], portsOf[b][0]), cmp.Compare(a, b))
		}) {
			ports := portsOf[cause]
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "reach", Message: fmt.Sprintf("TCP %s cannot be reached %s", joinPorts(ports, ", "), cause), Remedy: openPorts(t, ports),
			})
		}
	}
	return out
}

// explained says in words what the agent reports of a dial that failed.
func explained(why string) string {
	switch why {
	case "silent":
		return "nothing comes back (dropped on the way)"
	case "refused":
		return "refused (rejected on the way)"
	case "no route":
		return "no route"
	}
	return why
}

// openPorts is the remedy for ports that a host does not let in: the command of the firewall that was seen on it.
func openPorts(t *Target, ports []int) string {
	switch {
	case slices.Contains(t.Facts.Firewalls, "firewalld"):
		return "on that host: firewall-cmd --permanent --add-port=" + joinPorts(ports, "/tcp --add-port=") + "/tcp && firewall-cmd --reload"
	case slices.Contains(t.Facts.Firewalls, "ufw"):
		return "on that host: ufw allow " + joinPorts(ports, ",") + "/tcp"
	case slices.Contains(t.Facts.Firewalls, "nftables"):
		return "on that host, in its input chain (see nft list ruleset): tcp dport { " + joinPorts(ports, ", ") + " } accept"
	case slices.Contains(t.Facts.Firewalls, "iptables"):
		return "on that host: iptables -I INPUT -p tcp -m multiport --dports " + joinPorts(ports, ",") + " -j ACCEPT, and make it permanent"
	}
	return "let these ports through between the hosts (no firewall was seen on the host itself: look at routers and security groups)"
}

func joinPorts(ports []int, separator string) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(ports), "[]"), " ", separator)
}
