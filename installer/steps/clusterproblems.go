package steps

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// clusterProblems judges what only shows when hosts are seen together, or beside the networks of the cluster.
func clusterProblems(targets []*Target, vip string, kube kubeFacts) []Problem {
	var out []Problem
	names := map[string][]string{}
	for _, t := range targets {
		if name := t.nodeName(); name != "" { // names that differ in case only are one node's
			names[name] = append(names[name], t.IP.String())
		}
		if !t.begun() {
			out = append(out, addressProblems(t, vip, kube)...)
		}
	}
	for _, t := range targets { // not over names: the order must be the same on every run
		ip, ips := t.IP.String(), names[t.nodeName()]
		if len(ips) > 1 {
			out = append(out, Problem{
				Host: ip, Check: "host-name",
				Message: fmt.Sprintf("its host name %q is the name of %s too", t.Facts.Hostname, strings.Join(without(ips, ip), ", ")),
				Remedy:  "give each host a name of its own: hostnamectl set-hostname NAME",
			})
		}
	}
	return append(out, clones(targets)...)
}

// clones tells hosts that are copies of one disk: with one machine id, some networks give them one address.
func clones(targets []*Target) []Problem {
	ids := map[string][]string{}
	for _, t := range targets {
		if t.Facts.MachineID != "" {
			ids[t.Facts.MachineID] = append(ids[t.Facts.MachineID], t.IP.String())
		}
	}
	var out []Problem
	for _, t := range targets {
		if ips := ids[t.Facts.MachineID]; len(ips) > 1 {
			out = append(out, Problem{
				Host: t.IP.String(), Check: "host-name", Warning: true,
				Message: "its machine id is that of another host: it is a copy of its disk",
				Remedy:  "rm /etc/machine-id && systemd-machine-id-setup, on all copies but one",
			})
		}
	}
	return out
}

// addressProblems looks for addresses and routes of a host where the cluster will have its own.
func addressProblems(t *Target, vip string, kube kubeFacts) []Problem {
	var out []Problem
	add := func(warning bool, check, remedy, format string, args ...any) {
		out = append(out, Problem{Host: t.IP.String(), Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning})
	}
	virtual, err := netip.ParseAddr(vip)
	if err != nil {
		return nil // told as a problem of the configuration
	}
	var routes []netip.Prefix
	for _, text := range t.Facts.Routes {
		if p, err := netip.ParsePrefix(text); err == nil {
			routes = append(routes, p)
		}
	}
	nets := []struct {
		name     string
		prefixes []netip.Prefix
	}{{"podSubnet", kube.pods}, {"serviceSubnet", kube.services}}
	for _, n := range nets {
		remedy := "choose another networking." + n.name + " in the ClusterConfiguration of the Clusterfile"
		for _, p := range n.prefixes {
			overlaps := func(r netip.Prefix) bool { return p.Overlaps(r) && !onlyForServices(t, n.name, p, r) }
			if i := slices.IndexFunc(routes, overlaps); i >= 0 {
				add(false, "subnet", remedy, "%s %s overlaps the route to %s", n.name, p, routes[i])
				continue
			}
			for _, text := range t.Facts.Addresses {
				if a, err := netip.ParsePrefix(text); err == nil && p.Contains(a.Addr()) {
					add(false, "subnet", remedy, "%s %s holds the address %s of this host", n.name, p, a.Addr())
					break
				}
			}
		}
	}
	const another = "choose another with -e defaultVIP=ADDRESS"
	for _, text := range t.Facts.Addresses {
		if a, err := netip.ParsePrefix(text); err == nil && a.Addr() == virtual {
			add(false, "vip", another, "the virtual address %s is an address of this host", vip)
			return out
		}
	}
	for _, p := range routes {
		if p.Contains(virtual) {
			add(true, "vip", "if a machine has that address: "+another, "the virtual address %s lies in %s, which this host has a route to: a machine of the site with that address would be hidden", vip, p)
			break
		}
	}
	return out
}

// onlyForServices tells of a route that leads to exactly the network of Services, on a host without a default route: it
// was put there so that Services can be reached, as the documentation of some network plugins advises.
func onlyForServices(t *Target, name string, network, route netip.Prefix) bool {
	return name == "serviceSubnet" && route.Masked() == network && !t.Facts.DefaultRoute
}

// ownClock compares this machine, which makes the certificates, with the hosts.
func ownClock(middle time.Duration) []Problem {
	if middle.Abs() <= maxOwnSkew {
		return nil
	}
	return []Problem{{
		Check: "clock", Message: fmt.Sprintf("the hosts' clocks are %s off that of this machine, which makes the certificates", middle.Round(time.Minute)),
		Remedy: "set the clock of this machine",
	}}
}

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}
