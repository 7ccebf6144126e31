package installer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer/host"
)

// NetworkError says that a cluster cannot have an address or a network that was asked for. It shows before any host is
// contacted, and another command line or Clusterfile is what helps.
type NetworkError struct{ Err error }

func (e *NetworkError) Error() string { return e.Err.Error() }
func (e *NetworkError) Unwrap() error { return e.Err }

// Networks are the addresses that a cluster has beside those of its hosts, as far as they are known.
type Networks struct {
	VIP            netip.Addr // invalid: not known yet
	Pods, Services []netip.Prefix
}

// CheckNetworks refuses what a cluster cannot have: other addresses than IPv4, addresses that no host can have, and hosts or a
// virtual address within the cluster's own networks. The error is a *NetworkError.
func (c *Cluster) CheckNetworks(n Networks) error {
	var errs []error
	if six := c.sixes(n); len(six) > 0 {
		errs = append(errs, fmt.Errorf("IPv6 is not supported yet, alone or beside IPv4: give IPv4 addresses instead of %s", nameUpTo(4, six)))
	}
	for _, h := range c.Hosts {
		ip := h.IP.Unmap()
		if !ip.Is4() {
			continue
		}
		if why := unfit(ip); why != "" {
			errs = append(errs, fmt.Errorf("%s %s: it cannot be that of a host", ip, why))
			continue
		}
		if ip == n.VIP {
			errs = append(errs, fmt.Errorf("host %s has the virtual address, under which nodes reach the masters: give the host's own, or choose another virtual address with -e defaultVIP=ADDRESS", ip))
		}
		for _, own := range n.own() {
			if own.Contains(ip) {
				errs = append(errs, fmt.Errorf("host %s lies in %s %s, which the cluster gives out itself: give the host's own address, or choose another networking.%s in the ClusterConfiguration", ip, own.name, own.Prefix, own.name))
			}
		}
	}
	errs = append(errs, n.vipError())
	if err := errors.Join(errs...); err != nil {
		return &NetworkError{err}
	}
	return nil
}

func (n Networks) vipError() error {
	const another = "choose another with -e defaultVIP=ADDRESS"
	if !n.VIP.Is4() {
		return nil
	}
	if why := unfit(n.VIP); why != "" {
		return fmt.Errorf("the virtual address %s %s: %s", n.VIP, why, another)
	}
	if n.VIP.IsLoopback() {
		return fmt.Errorf("the virtual address %s lies on the loopback, where every host has its own: %s", n.VIP, another)
	}
	for _, own := range n.own() {
		if own.Contains(n.VIP) {
			return fmt.Errorf("the virtual address %s lies in %s %s, which the cluster gives out itself: %s", n.VIP, own.name, own.Prefix, another)
		}
	}
	return nil
}

// ownNetwork is a network of the cluster with its name in the ClusterConfiguration.
type ownNetwork struct {
	name string
	netip.Prefix
}

func (n Networks) own() []ownNetwork {
	var out []ownNetwork
	for _, p := range n.Pods {
		out = append(out, ownNetwork{"podSubnet", p})
	}
	for _, p := range n.Services {
		out = append(out, ownNetwork{"serviceSubnet", p})
	}
	return out
}

// sixes lists all addresses and networks that are IPv6.
func (c *Cluster) sixes(n Networks) []string {
	var out []string
	for _, h := range c.Hosts {
		if h.IP.Unmap().Is6() {
			out = append(out, h.IP.String())
		}
	}
	if n.VIP.Is6() {
		out = append(out, "defaultVIP "+n.VIP.String())
	}
	for _, own := range n.own() {
		if own.Addr().Is6() {
			out = append(out, own.name+" "+own.String())
		}
	}
	return out
}

// unfit says why no host can have an IPv4 address; empty if a host can.
func unfit(ip netip.Addr) string {
	first := ip.As4()[0]
	switch {
	case first == 0:
		return "means this host, or any address"
	case ip.IsMulticast():
		return "is a multicast address"
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is the broadcast address"
	case first >= 240:
		return "is of a reserved range"
	}
	return ""
}

// knownNetworks are those that the command line and the Clusterfile give, before any image is read.
func (c *Cluster) knownNetworks() (Networks, error) {
	var n Networks
	var errs []error
	if text := c.Env["defaultVIP"]; text != "" {
		vip, err := netip.ParseAddr(text)
		if err != nil {
			errs = append(errs, &NetworkError{fmt.Errorf("defaultVIP %q is not an IP address: give an IPv4 address that no machine of the site has", text)})
		}
		n.VIP = vip.Unmap()
	}
	for _, doc := range c.Kubeadm {
		var d struct {
			Kind       string `yaml:"kind"`
			Networking struct {
				PodSubnet     string `yaml:"podSubnet"`
				ServiceSubnet string `yaml:"serviceSubnet"`
			} `yaml:"networking"`
		}
		if yaml.Unmarshal(doc, &d) != nil || d.Kind != "ClusterConfiguration" {
			continue // what is wrong with its form is told where it is merged, with its line
		}
		n.Pods = slices.Concat(n.Pods, prefixes(d.Networking.PodSubnet))
		n.Services = slices.Concat(n.Services, prefixes(d.Networking.ServiceSubnet))
	}
	return n, errors.Join(errs...)
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// checkKnownNetworks checks what is known before any image is read.
func (c *Cluster) checkKnownNetworks() error {
	n, err := c.knownNetworks()
	return errors.Join(err, c.CheckNetworks(n), c.checkOthers())
}

// checkOthers checks the address of the registry and those of jump hosts, which are no hosts of the cluster. A jump host may be
// reached over IPv6.
func (c *Cluster) checkOthers() error {
	var errs []error
	if ip, err := netip.ParseAddr(c.Env["registryDomain"]); err == nil {
		switch ip = ip.Unmap(); {
		case ip.Is6():
			errs = append(errs, fmt.Errorf("IPv6 is not supported yet, alone or beside IPv4: give a name instead of registryDomain %s", ip))
		case unfit(ip) != "":
			errs = append(errs, fmt.Errorf("registryDomain %s %s: give a name that no machine of the site has", ip, unfit(ip)))
		}
	}
	seen := map[string]bool{"": true, "none": true}
	for _, h := range append([]Host{{SSH: c.SSH}}, c.Hosts...) {
		if seen[h.SSH.Jump] {
			continue
		}
		seen[h.SSH.Jump] = true
		hops, err := host.ParseJump(h.SSH.Jump)
		if err != nil {
			continue // told when it is to be used
		}
		for _, hop := range hops {
			ip, err := netip.ParseAddr(hop.Host)
			if ip = ip.Unmap(); err == nil && ip.Is4() && unfit(ip) != "" {
				errs = append(errs, fmt.Errorf("jump host %s %s", ip, unfit(ip)))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &NetworkError{err}
	}
	return nil
}
