package care

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// HoldUnit is the unit that holds packets back while a host boots.
	HoldUnit = "sealos-boot-routes.service"
	// HoldProtocol is the protocol number of the routes of [Hold], which `ip route` shows as proto 84.
	HoldProtocol = 84
	// HoldPatience is how long packets are held back at most: a network of pods may make no routes.
	HoldPatience = 5 * time.Minute

	holdMetric  = math.MaxInt32   // behind every route that somebody else makes
	holdSettled = 5 * time.Second // a network of pods makes its routes one after the other
)

// Held are the networks of a cluster.
type Held struct{ Pods, Services []netip.Prefix }

// ErrNoPodRoutes tells that the network of pods has made no route of its own within [HoldPatience].
var ErrNoPodRoutes = errors.New("no route to pods has appeared")

// Hold makes routes that keep packets to pods and Services on the host, if they are not there, and lasts until the network of
// pods has made its own, which have precedence, then for five seconds more. It removes them at the end, whatever that is.
//
// A host that boots forwards to pods as soon as kube-proxy has written its rules, and asks for Services before that. Until the
// network of pods has made its routes, such packets would leave the site by the default route. Later they may have to: there are
// networks of pods whose way is the default route.
func Hold(ctx context.Context, h Held, log *slog.Logger) error {
	return holdFor(ctx, h, HoldPatience, holdSettled, log)
}

func holdFor(ctx context.Context, h Held, patience, settled time.Duration, log *slog.Logger) error {
	if err := BeginHold(h); err != nil {
		return err
	}
	err := untilPodRoutes(ctx, h.Pods, patience, settled, log)
	switch {
	case ctx.Err() != nil: // it was told to end
		err = nil
	case errors.Is(err, ErrNoPodRoutes):
		log.Warn(err.Error() + "; packets to pods go where the routes of the host lead, from now on")
		err = nil
	}
	return errors.Join(err, EndHold())
}

// BeginHold makes the routes of [Hold].
func BeginHold(h Held) error {
	lo, err := loopback()
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(h.Pods, h.Services) {
		r := netlink.Route{
			Dst:   &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
			Table: unix.RT_TABLE_MAIN, Protocol: HoldProtocol, Priority: holdMetric,
			Type: unix.RTN_UNREACHABLE, // who asks for a pod is told at once, and asks again
		}
		if slices.Contains(h.Services, p) {
			// kube-proxy rewrites what a program of the host sends only where there is a route that leads somewhere.
			r.Type, r.LinkIndex, r.Scope = unix.RTN_UNICAST, lo, netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("hold packets to %s: %w", p, err)
		}
	}
	return nil
}

// EndHold removes the routes of [Hold]. None is no error.
func EndHold() error {
	routes, err := routesOf(HoldProtocol)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("remove the route %s: %w", r, err)
		}
	}
	return nil
}

func routesOf(protocol netlink.RouteProtocol) ([]netlink.Route, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// untilPodRoutes returns once there are routes to pods, and have been the same for as long as settled says.
func untilPodRoutes(ctx context.Context, pods []netip.Prefix, patience, settled time.Duration, log *slog.Logger) error {
	late := time.After(patience)
	tick := time.NewTicker(settled / 20)
	defer tick.Stop()
	var before []string
	since := time.Now()
	for {
		now, err := podRoutes(pods)
		if err != nil {
			return err
		}
		if !slices.Equal(now, before) {
			log.Info("routes to pods", "are", strings.Join(now, " "))
			before, since = now, time.Now()
		}
		if len(now) > 0 && time.Since(since) >= settled {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return fmt.Errorf("%w within %s", ErrNoPodRoutes, patience)
		case <-tick.C:
		}
	}
}

// podRoutes lists the destinations of routes that others have made to pods, in order. A route to more than the pods, as the
// default route, is none to pods.
func podRoutes(pods []netip.Prefix) (found []string, err error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Protocol == HoldProtocol {
			continue
		}
		a, ok := netip.AddrFromSlice(r.Dst.IP)
		if !ok {
			continue
		}
		a = a.Unmap()
		bits, _ := r.Dst.Mask.Size()
		if slices.ContainsFunc(pods, func(p netip.Prefix) bool { return p.Contains(a) && bits >= p.Bits() }) {
			found = append(found, netip.PrefixFrom(a, bits).String())
		}
	}
	slices.Sort(found)
	return found, nil
}
