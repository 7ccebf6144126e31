package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// dialsTo lists the ports on a host that another one dials while the cluster is made and lives.
func dialsTo(from, to *Target, registryPort int) []int {
	switch {
	case from == to:
		return nil
	case from.Master && to.Master:
		return []int{installer.APIServerPort, 2379, 2380, 10250, registryPort}
	case to.Master:
		return []int{installer.APIServerPort, registryPort}
	case from.Master:
		return []int{10250}
	}
	return nil
}

// listens lists the free ports that are tried on a host: all that anybody dials.
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

// TryPorts tries every connection between hosts that the cluster needs, by opening the ports for a short time on hosts
// where the cluster was not begun yet.
func (f *Fleet) TryPorts(ctx context.Context, registryPort int) []preflight.Problem {
	var seen, fresh []*Target
	for _, t := range f.Targets {
		if !t.Looked {
			continue
		}
		seen = append(seen, t)
		if !t.Begun() {
			fresh = append(fresh, t)
		}
	}
	var out []preflight.Problem
	for batch := range slices.Chunk(fresh, max(1, f.Jobs)) {
		if len(seen) > 1 && ctx.Err() == nil {
			out = append(out, f.reachSome(ctx, seen, batch, registryPort)...)
		}
	}
	return out
}

// unreached is who could not reach one port of a host, by reason.
type unreached map[*Target]map[int]map[string][]string

// reachPatience bounds the dials of one host, each of which takes three seconds at most and many of which go on at once.
const reachPatience = 30 * time.Second

// reachSome tries the ports of some hosts, all at once.
func (f *Fleet) reachSome(ctx context.Context, seen, batch []*Target, registryPort int) []preflight.Problem {
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
		missed, err := from.Agent.Reach(ctx, ends, word)
		if err != nil {
			return fmt.Errorf("dial the other hosts: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range missed {
			failed.add(of[m.IP], m.Port, m.Why, from.IP.String())
		}
		return nil
	}))
	for t, l := range listening {
		busy, closeErr := l.Close()
		if closeErr != nil {
			err = errors.Join(err, &installer.HostError{Host: t.IP.String(), Err: closeErr})
		}
		for _, p := range busy {
			delete(failed[t], p) // another had it: that is told, or no matter
		}
	}
	out := failed.problems(batch)
	for _, p := range preflight.From(err, "reach") {
		p.Warning, p.Message, p.Remedy = true, "whether the hosts reach each other could not be tried: "+p.Message, "look for firewalls between the hosts if joining fails"
		out = append(out, p)
	}
	return out
}

// endpoints lists what a host dials, and whose addresses these are.
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
	if u[to] == nil {
		u[to] = map[int]map[string][]string{}
	}
	if u[to][port] == nil {
		u[to][port] = map[string][]string{}
	}
	u[to][port][why] = append(u[to][port][why], from)
}

// problems tells for each host which of its ports whom does not let in: those with the same story once.
func (u unreached) problems(order []*Target) []preflight.Problem {
	var out []preflight.Problem
	for _, t := range order {
		stories := map[string][]int{}
		for _, port := range slices.Sorted(maps.Keys(u[t])) {
			for _, why := range slices.Sorted(maps.Keys(u[t][port])) {
				story := "from " + installer.HostList(u[t][port][why]) + ": " + explained(why)
				stories[story] = append(stories[story], port)
			}
		}
		inOrder := slices.SortedFunc(maps.Keys(stories), func(a, b string) int {
			return cmp.Or(cmp.Compare(stories[a][0], stories[b][0]), cmp.Compare(a, b))
		})
		for _, story := range inOrder {
			ports := stories[story]
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "reach", Message: fmt.Sprintf("TCP %s cannot be reached %s", joinPorts(ports, ", "), story), Remedy: openPorts(t, ports),
			})
		}
	}
	return out
}

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

// openPorts is how the firewall that was seen on a host lets ports in.
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
	var out []string
	for _, p := range ports {
		out = append(out, strconv.Itoa(p))
	}
	return strings.Join(out, separator)
}
