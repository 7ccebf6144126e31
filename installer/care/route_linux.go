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

// vipRoute makes the virtual address local without giving it to an interface: a route of type local, with the node's own
// address as the source of connections. An address on an interface would become that source, and the answers of a master would
// then be sent to an address that is not unique.
func vipRoute(vip, source netip.Addr) (*netlink.Route, error) {
	lo, err := loopback()
	if err != nil {
		return nil, err
	}
	r := &netlink.Route{
		LinkIndex: lo,
		Dst:       &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(32, 32)},
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	}
	if source.IsValid() {
		r.Src = source.AsSlice()
	}
	return r, nil
}

// loopback is the index of the loopback interface.
func loopback() (int, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("find the loopback interface: %w", err)
	}
	return lo.Attrs().Index, nil
}

// ensureRoute makes vip local. The source is the address from which server is reached.
func ensureRoute(vip, server netip.Addr) error {
	source := netip.Addr{}
	if routes, err := netlink.RouteGet(server.AsSlice()); err == nil && len(routes) > 0 {
		if s, ok := netip.AddrFromSlice(routes[0].Src); ok {
			source = s.Unmap()
		}
	}
	r, err := vipRoute(vip, source)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("make %s a local address: %w", vip, err)
	}
	return nil
}

// removeRoute undoes ensureRoute. No such route is no error.
func removeRoute(vip netip.Addr) error {
	r, err := vipRoute(vip, netip.Addr{})
	if err != nil {
		return err
	}
	if err := netlink.RouteDel(r); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("remove the route to %s: %w", vip, err)
	}
	return nil
}
