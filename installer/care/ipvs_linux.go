package care

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ipvsAvailable asks the kernel whether it has ip_vs. Asking makes the kernel load the module where it is allowed to. The
// family is asked for by name: package ipvs itself takes an unknown family for number 0, to which the kernel answers without an
// error and without doing anything.
func ipvsAvailable() error {
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		return fmt.Errorf("the kernel has no ip_vs: %w", err)
	}
	return nil
}

// endOfDeleted has the kernel end the connections of a server that is deleted. By itself it drops their packets, and clients wait
// for answers as long as they have patience. kube-proxy's own ipvs mode does the same.
func endOfDeleted() error {
	return os.WriteFile("/proc/sys/net/ipv4/vs/expire_nodest_conn", []byte("1"), 0o644)
}

// ipvsBalancer programs one virtual service of the kernel. Services and servers of others are never touched.
type ipvsBalancer struct {
	handle  *ipvs.Handle
	service *ipvs.Service
}

func newIPVS(vip netip.AddrPort) (*ipvsBalancer, error) {
	h, err := ipvs.New("")
	if err != nil {
		return nil, fmt.Errorf("open ip_vs: %w", err)
	}
	return &ipvsBalancer{handle: h, service: &ipvs.Service{
		Address:       vip.Addr().AsSlice(),
		Port:          vip.Port(),
		Protocol:      unix.IPPROTO_TCP,
		AddressFamily: unix.AF_INET,
		SchedName:     ipvs.RoundRobin,
		Netmask:       0xffffffff,
	}}, nil
}

func (b *ipvsBalancer) Servers() ([]Server, error) {
	if !b.handle.IsServicePresent(b.service) {
		if err := b.handle.NewService(b.service); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make the virtual service: %w", err)
		}
	}
	dests, err := b.handle.GetDestinations(b.service)
	if err != nil {
		return nil, fmt.Errorf("list real servers: %w", err)
	}
	var out []Server
	for _, d := range dests {
		if ip, ok := netip.AddrFromSlice(d.Address); ok {
			out = append(out, Server{Addr: netip.AddrPortFrom(ip.Unmap(), d.Port), Weight: d.Weight, Open: d.ActiveConnections})
		}
	}
	return out, nil
}

func (b *ipvsBalancer) Apply(c Change) error {
	d := &ipvs.Destination{
		Address:         c.Server.Addr.Addr().AsSlice(),
		Port:            c.Server.Addr.Port(),
		Weight:          c.Server.Weight,
		AddressFamily:   unix.AF_INET,
		ConnectionFlags: ipvs.ConnectionFlagMasq,
	}
	var err error
	switch c.Op {
	case Add:
		err = b.handle.NewDestination(b.service, d)
	case Update:
		err = b.handle.UpdateDestination(b.service, d)
	case Delete:
		err = b.handle.DelDestination(b.service, d)
	}
	if err != nil {
		return fmt.Errorf("%s real server %s: %w", c.Op, c.Server.Addr, err)
	}
	return nil
}

func (b *ipvsBalancer) Clean() error {
	defer b.handle.Close()
	if !b.handle.IsServicePresent(b.service) {
		return nil
	}
	if err := b.handle.DelService(b.service); err != nil {
		return fmt.Errorf("remove the virtual service: %w", err)
	}
	return nil
}
