package preflight

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// JudgeTogether compares hosts with each other, and with the networks of the cluster.
func JudgeTogether(hosts []Host, vip string, kube Settings) []Problem {
	var out []Problem
	names := map[string][]string{}
	for _, v := range hosts {
		if name := v.nodeName(); name != "" { // names that differ in case only are one node's
			names[name] = append(names[name], v.IP)
		}
		if !v.Begun {
			out = append(out, addressProblems(v, vip, kube)...)
		}
	}
	for _, v := range hosts { // not over names: the order must be the same on every run
		ip, ips := v.IP, names[v.nodeName()]
		if len(ips) > 1 {
			out = append(out, Problem{
				Host: ip, Check: "host-name",
				Message: fmt.Sprintf("its host name %q is the name of %s too", v.Facts.Hostname, strings.Join(without(ips, ip), ", ")),
				Remedy:  "give each host a name of its own: hostnamectl set-hostname NAME",
			})
		}
	}
	return append(out, clones(hosts)...)
}

// nodeName is the name of the host's node: its host name in lower case, as kubelet has it.
func (v Host) nodeName() string { return strings.ToLower(v.Facts.Hostname) }

// clones finds hosts that are copies of one disk: some networks give hosts of one machine id one address.
func clones(hosts []Host) []Problem {
	ids := map[string][]string{}
	for _, v := range hosts {
		if v.Facts.MachineID != "" {
			ids[v.Facts.MachineID] = append(ids[v.Facts.MachineID], v.IP)
		}
	}
	var out []Problem
	for _, v := range hosts {
		if ips := ids[v.Facts.MachineID]; len(ips) > 1 {
			out = append(out, Problem{
				Host: v.IP, Check: "host-name", Warning: true,
				Message: "its machine id is that of another host: it is a copy of its disk",
				Remedy:  "rm /etc/machine-id && systemd-machine-id-setup, on all copies but one",
			})
		}
	}
	return out
}

// addressProblems looks for addresses and routes of a host where the cluster will have its own.
func addressProblems(v Host, vip string, kube Settings) []Problem {
	var out []Problem
	add := v.adder(&out)
	virtual, err := netip.ParseAddr(vip)
	if err != nil {
		return nil // reported as a problem of the configuration
	}
	var routes []netip.Prefix
	for _, text := range v.Facts.Routes {
		if p, err := netip.ParsePrefix(text); err == nil {
			routes = append(routes, p)
		}
	}
	nets := []struct {
		name     string
		prefixes []netip.Prefix
	}{{"podSubnet", kube.Pods}, {"serviceSubnet", kube.Services}}
	for _, n := range nets {
		remedy := "choose another networking." + n.name + " in the ClusterConfiguration of the Clusterfile"
		for _, p := range n.prefixes {
			overlaps := func(r netip.Prefix) bool { return p.Overlaps(r) && !onlyForServices(v, n.name, p, r) }
			if i := slices.IndexFunc(routes, overlaps); i >= 0 {
				add(false, "subnet", remedy, "%s %s overlaps the route to %s", n.name, p, routes[i])
				continue
			}
			for _, text := range v.Facts.Addresses {
				if a, err := netip.ParsePrefix(text); err == nil && p.Contains(a.Addr()) {
					add(false, "subnet", remedy, "%s %s holds the address %s of this host", n.name, p, a.Addr())
					break
				}
			}
		}
	}
	const another = "choose another with -e defaultVIP=ADDRESS"
	for _, text := range v.Facts.Addresses {
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

// onlyForServices tells whether a route leads to exactly the network of Services, on a host without a default route. Some
// network plugins advise that route, so that Services can be reached.
func onlyForServices(v Host, name string, network, route netip.Prefix) bool {
	return name == "serviceSubnet" && route.Masked() == network && !v.Facts.DefaultRoute
}

// OwnClock compares this machine, which makes the certificates, with the hosts.
func OwnClock(middle time.Duration) []Problem {
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

// firewallProblems warns of firewalls that are on: connections between hosts are tried, the network of pods is not.
func firewallProblems(v Host) []Problem {
	if v.Begun || len(v.Facts.Firewalls) == 0 {
		return nil
	}
	return []Problem{{
		Host: v.IP, Check: "firewall", Warning: true,
		Message: strings.Join(v.Facts.Firewalls, " and ") + " is on: the TCP ports between the hosts are tried, the pods' network is not",
		Remedy:  "let in what the network plugin uses between the hosts (flannel: UDP 8472; calico: TCP 179, IP-in-IP or UDP 4789) and the pods' subnet, or turn it off",
	}}
}
