package care

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteProtocol marks the routes that the installer made, as `ip route` shows them (proto 83): nobody else's are touched.
const RouteProtocol = 83

// A connection to a Service's address is begun only where some route covers that address, although kube-proxy rewrites
// it before it leaves: without one the kernel refuses it at once, and a host without a default route never reaches the
// API through its Service, which is where network plugins look for it.
//
// The route leads to the loopback, which is always up: it survives whatever happens to the host's links and addresses.
// What kube-proxy rewrites is routed anew. What it does not, an address that is no Service's, goes nowhere: the kernel
// drops it, or, of a pod, refuses it when it has gone round 64 times.
func serviceRoute(prefix netip.Prefix) (*netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find the loopback interface: %w", err)
	}
	return &netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)},
		Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_LINK, Protocol: RouteProtocol,
	}, nil
}

// Routed asks the kernel whether a connection to any address of a network would be begun: all its rules and tables count.
func Routed(prefix netip.Prefix) bool {
	for _, a := range []netip.Addr{prefix.Masked().Addr().Next(), last(prefix)} {
		if _, err := netlink.RouteGet(a.AsSlice()); err != nil {
			return false
		}
	}
	return true
}

// last is the last address of a network that is a host's.
func last(prefix netip.Prefix) netip.Addr {
	b := prefix.Masked().Addr().As4()
	for i := prefix.Bits(); i < 31; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// EnsureServiceRoute puts a route to a network of Services where there is none. It tells whether there is one of ours,
// and whether it was put there now.
func EnsureServiceRoute(prefix netip.Prefix) (ours, added bool, err error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() == 0 || prefix.Bits() > 30 {
		return false, false, fmt.Errorf("network of Services %s: expected IPv4/BITS", prefix)
	}
	have, err := ServiceRoutes()
	if err != nil {
		return false, false, err
	}
	for _, p := range have {
		if p == prefix.Masked() {
			return true, false, nil
		}
	}
	if Routed(prefix) {
		return false, false, nil
	}
	r, err := serviceRoute(prefix.Masked())
	if err != nil {
		return false, false, err
	}
	if err := netlink.RouteReplace(r); err != nil {
		return false, false, fmt.Errorf("make a route to the Services in %s: %w", prefix, err)
	}
	return true, true, nil
}

// ServiceRoutes lists the networks that routes of ours lead to.
func ServiceRoutes() ([]netip.Prefix, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			bits, _ := r.Dst.Mask.Size()
			out = append(out, netip.PrefixFrom(a.Unmap(), bits))
		}
	}
	return out, nil
}

// RemoveServiceRoutes removes the routes of EnsureServiceRoute, whatever they lead to. None is no error.
func RemoveServiceRoutes() error {
	have, err := ServiceRoutes()
	if err != nil {
		return err
	}
	for _, p := range have {
		r, err := serviceRoute(p)
		if err != nil {
			return err
		}
		if err := netlink.RouteDel(r); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("remove the route to %s: %w", p, err)
		}
	}
	return nil
}
