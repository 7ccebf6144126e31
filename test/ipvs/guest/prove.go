//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/ipvs"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	vip      = "10.103.97.2"
	foreign  = "10.200.0.1" // a virtual service that is somebody else's
	interval = time.Second  // between care's health checks
	drain    = 5 * time.Second
	patience = 5 * time.Second // for one health check: the emulated machine may have little of a real one
	listFile = "/run/servers"
)

// prove runs every step; the first that does not hold ends it.
func prove(ctx context.Context, m *masters, log *slog.Logger) error {
	all := masterAddrs()
	vipPort := netip.AddrPortFrom(netip.MustParseAddr(vip), 6443)
	k := &keeper{log: log, vip: vipPort}
	steps := []struct {
		name string
		run  func() error
	}{
		{"a foreign virtual service stands beside ours", func() error { return addForeign() }},
		{"the API servers start", func() error {
			for _, a := range all {
				if err := m.tell("start", a); err != nil {
					return err
				}
			}
			return nil
		}},
		{"once: the rules are there when the command returns", func() error {
			return errors.Join(care.Run(ctx, k.config(all, true)), expectServers(all...))
		}},
		{"connections to the virtual address reach every server, from the node's own address", func() error { return expectSpread(ctx, all) }},
		{"a server that dies loses its connections, and no client notices for long", func() error {
			k.start(ctx, all)
			return errors.Join(m.tell("stop", all[1]), eventually(ctx, func() error { return expectServers(all[0], all[2]) }),
				expectSpread(ctx, []string{all[0], all[2]}))
		}},
		{"a server that comes back is used again", func() error {
			return errors.Join(m.tell("start", all[1]), eventually(ctx, func() error { return expectServers(all...) }), expectSpread(ctx, all))
		}},
		{"all servers silent: none is given up", func() error {
			for _, a := range all {
				if err := m.tell("stop", a); err != nil {
					return err
				}
			}
			if err := pause(ctx, 4*interval); err != nil {
				return err
			}
			if err := expectServers(all...); err != nil {
				return err
			}
			for _, a := range all {
				if err := m.tell("start", a); err != nil {
					return err
				}
			}
			return expectSpread(ctx, all)
		}},
		{"a dropped route comes back", func() error {
			return errors.Join(dropRoute(), eventually(ctx, func() error { return expectSpread(ctx, all) }))
		}},
		{"a flushed virtual service comes back", func() error {
			return errors.Join(dropService(), eventually(ctx, func() error { return expectServers(all...) }), expectSpread(ctx, all))
		}},
		{"another list is in force and costs no question", func() error { return expectListFollowed(ctx, k, all) }},
		{"a server that stops as planned costs no question", func() error { return expectPlannedStop(ctx, m, all) }},
		{"a server that is withheld, upgraded and released costs no question", func() error { return expectWithheld(ctx, k, m, all) }},
		{"a removed server's open connection is ended after its time, and no other", func() error { return expectDrained(ctx, k, all) }},
		{"a keeper that was away while the list changed removes the stale one", func() error {
			if err := eventually(ctx, func() error { return expectServers(all...) }); err != nil {
				return err
			}
			k.stop()
			if err := expectSpread(ctx, all); err != nil {
				return fmt.Errorf("with no keeper running: %w", err)
			}
			k.start(ctx, all[:2])
			return errors.Join(eventually(ctx, func() error { return expectServers(all[:2]...) }), expectSpread(ctx, all[:2]))
		}},
		{"clean removes ours and leaves the foreign one", func() error {
			k.stop()
			return errors.Join(care.Clean(vipPort), expectClean())
		}},
		{"clean again finds nothing, and says nothing", func() error { return care.Clean(vipPort) }},
	}
	for _, s := range steps {
		start := time.Now()
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("ipvs: ok %5.1fs  %s\n", time.Since(start).Seconds(), s.name)
	}
	return nil
}

// keeper is care, running or not.
type keeper struct {
	log    *slog.Logger
	vip    netip.AddrPort
	cancel context.CancelFunc
	done   chan error
}

func (k *keeper) config(servers []string, once bool) care.Config {
	k.tell(servers...)
	return care.Config{VIP: k.vip, List: listFile, Mode: care.ModeIPVS, Interval: interval, Timeout: patience, Drain: drain, RunOnce: once, Log: k.log}
}

func (k *keeper) start(ctx context.Context, servers []string) {
	ctx, k.cancel = context.WithCancel(ctx)
	k.done = make(chan error, 1)
	c := k.config(servers, false)
	go func() { k.done <- care.Run(ctx, c) }()
}

// tell writes the list as the installer does.
func (k *keeper) tell(servers ...string) { k.tellList(care.List{Servers: addrPorts(servers)}) }

func (k *keeper) tellList(list care.List) {
	err := errors.Join(os.WriteFile(listFile+".new", list.Format(), 0o644), os.Rename(listFile+".new", listFile))
	if err != nil {
		fmt.Println("ipvs: write the list:", err)
	}
}

// confirm waits until the list is in force.
func (k *keeper) confirm(ctx context.Context, servers ...string) error {
	return k.confirmList(ctx, care.List{Servers: addrPorts(servers)})
}

func (k *keeper) confirmList(ctx context.Context, list care.List, ready ...netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 15*interval) // as the installer does
	defer cancel()
	s, err := care.Confirm(ctx, listFile, k.vip, list, ready...)
	if err != nil {
		return fmt.Errorf("the list is not in force: %w (%s)", err, s)
	}
	return nil
}

func addrPorts(servers []string) (out []netip.AddrPort) {
	for _, s := range servers {
		out = append(out, netip.MustParseAddrPort(s+":"+port))
	}
	return out
}

func (k *keeper) stop() {
	k.cancel()
	if err := <-k.done; err != nil {
		fmt.Println("ipvs: care ended with:", err)
	}
}

// ask tells which server answered through the virtual address, and from where
// it saw the connection come.
func ask(ctx context.Context, limit time.Duration) (server, from string, err error) {
	client := &http.Client{Timeout: limit, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(vip, port)+"/who", nil)
	if err != nil {
		return "", "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	server, from, _ = strings.Cut(string(body), " ")
	from, _, _ = strings.Cut(from, ":")
	return server, from, err
}

// expectSpread asks often enough that round robin must have met every server.
func expectSpread(ctx context.Context, want []string) error {
	met := map[string]int{}
	for range 4 * len(want) {
		server, from, err := ask(ctx, 3*time.Second)
		if err != nil {
			return fmt.Errorf("ask through the virtual address: %w", err)
		}
		if from != nodeAddr {
			return fmt.Errorf("the server saw the connection come from %s, not from the node's %s", from, nodeAddr)
		}
		met[server]++
	}
	for _, w := range want {
		if met[w] == 0 {
			return fmt.Errorf("%s was never met among %v", w, met)
		}
	}
	if len(met) != len(want) {
		return fmt.Errorf("met %v, want only %v", met, want)
	}
	return nil
}

func service(addr string, port uint16) *ipvs.Service {
	return &ipvs.Service{
		Address: net.ParseIP(addr).To4(), Port: port, Protocol: unix.IPPROTO_TCP,
		AddressFamily: unix.AF_INET, SchedName: ipvs.RoundRobin, Netmask: 0xffffffff,
	}
}

func addForeign() error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	return h.NewService(service(foreign, 80))
}

// expectServers compares the kernel's servers that take connections with want.
func expectServers(want ...string) error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	dests, err := h.GetDestinations(service(vip, 6443))
	if err != nil {
		return fmt.Errorf("list the real servers: %w", err)
	}
	var have []string
	for _, d := range dests {
		have = append(have, fmt.Sprintf("%s:%d weight %d", d.Address, d.Port, d.Weight))
	}
	var expected []string
	for _, w := range want {
		expected = append(expected, w+":6443 weight 1")
	}
	slices.Sort(have)
	if !slices.Equal(have, expected) {
		return fmt.Errorf("the kernel has the servers %q, want %q", have, expected)
	}
	return nil
}

func vipRoutes() ([]netlink.Route, error) {
	return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{
		Table: unix.RT_TABLE_LOCAL, Dst: &net.IPNet{IP: net.ParseIP(vip).To4(), Mask: net.CIDRMask(32, 32)},
	}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
}

func dropRoute() error {
	routes, err := vipRoutes()
	if err != nil || len(routes) == 0 {
		return fmt.Errorf("find the route of the virtual address: %d, %w", len(routes), err)
	}
	return netlink.RouteDel(&routes[0])
}

func dropService() error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	return h.DelService(service(vip, 6443))
}

func expectClean() error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	services, err := h.GetServices()
	if err != nil {
		return err
	}
	if len(services) != 1 || services[0].Address.String() != foreign {
		return fmt.Errorf("%d virtual services are left, want only %s", len(services), foreign)
	}
	routes, err := vipRoutes()
	if err != nil || len(routes) > 0 {
		return fmt.Errorf("%d routes of the virtual address are left (%v)", len(routes), err)
	}
	return nil
}

// eventually asks until fn holds; care needs two failed checks to remove a server.
func eventually(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*interval)
	defer cancel()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if pause(ctx, interval/5) != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
