package care

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteProtocol is the protocol number of routes that the installer made, which `ip route` shows as proto 83. No other routes
// are touched.
const RouteProtocol = 83

// A connection to a Service's address is begun only where some route covers that address, although kube-proxy rewrites
// it before it leaves: without one the kernel refuses it at once, and a host without a default route never reaches the
// API through its Service, which is where network plugins look for it.
//
// The route leads to the loopback, which is always up whatever happens to the host's links and addresses. Packets that
// kube-proxy rewrites are routed anew. Others, to an address of no Service, go nowhere: the kernel drops them or, if they are
// from a pod, refuses them after 64 rounds.
func serviceRoute(prefix netip.Prefix) (*netlink.Route, error) {
	lo, err := loopback()
	if err != nil {
		return nil, err
	}
	return &netlink.Route{
		LinkIndex: lo, Dst: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)},
		Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_LINK, Protocol: RouteProtocol,
	}, nil
}

// Routed tells whether the kernel has a route to both ends of a network. All its rules and tables count.
func Routed(prefix netip.Prefix) bool {
	for _, a := range []netip.Addr{prefix.Masked().Addr().Next(), last(prefix)} {
		if _, err := netlink.RouteGet(a.AsSlice()); err != nil {
			return false
		}
	}
	return true
}

// last is the last address of a network that a host can have.
func last(prefix netip.Prefix) netip.Addr {
	b := prefix.Masked().Addr().As4()
	for i := prefix.Bits(); i < 31; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// EnsureServiceRoute makes a route to a network of Services if there is none. ours tells that the route is one of the
// installer's, added that it was made now.
func EnsureServiceRoute(prefix netip.Prefix) (ours, added bool, err error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() == 0 || prefix.Bits() > 30 {
		return false, false, fmt.Errorf("network of Services %s: expected IPv4/BITS", prefix)
	}
	have, err := ServiceRoutes()
	if err != nil {
		return false, false, err
	}
	if slices.Contains(have, prefix.Masked()) {
		return true, false, nil
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

// ServiceRoutes lists the networks of the routes that the installer made.
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
