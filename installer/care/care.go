// Package care keeps one virtual address of a cluster's API alive on a node: connections to VIP:PORT reach a healthy API
// server, whichever masters are up. It does what lvscare does for sealos, and more: it removes real servers that are no longer
// masters, and restores the route that makes the virtual address local.
//
// Two balancers do the forwarding. ipvs programs the kernel. proxy forwards in this process, for kernels without ip_vs. Mode
// auto takes ipvs where the kernel answers and says so when it does not.
//
// Health is decided by GET https://SERVER/healthz. A server that fails once
// gets no new connections (weight 0), one that fails twice is removed, one
// that answers is back at once. When no server answers, all are kept: the check may be wrong, and then connections still work.
package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// Modes of forwarding.
const (
	ModeAuto  = "auto"
	ModeIPVS  = "ipvs"
	ModeProxy = "proxy"
)

// Defaults of [Config].
const (
	DefaultInterval   = 3 * time.Second
	DefaultTimeout    = 3 * time.Second
	DefaultHealthPath = "/healthz"
)

// Config says what to keep alive.
type Config struct {
	VIP         netip.AddrPort   // the virtual address and port, IPv4
	RealServers []netip.AddrPort // the API servers of now; others are removed
	Mode        string           // ModeAuto when empty
	Interval    time.Duration    // between two health checks
	Timeout     time.Duration    // of one health check
	HealthPath  string
	RunOnce     bool // program the kernel once and return; needs ipvs
	Log         *slog.Logger
}

// Server is one real server as a balancer has it now.
type Server struct {
	Addr   netip.AddrPort
	Weight int
}

// Balancer forwards connections to the virtual address.
type Balancer interface {
	// Servers makes sure that the virtual service exists and lists its servers.
	Servers() ([]Server, error)
	Apply(Change) error
	// Clean removes the virtual service and everything made for it.
	Clean() error
}

func (c *Config) complete() error {
	if !c.VIP.IsValid() || !c.VIP.Addr().Is4() || c.VIP.Port() == 0 {
		return fmt.Errorf("virtual server %s: expected IPv4:PORT", c.VIP)
	}
	if len(c.RealServers) == 0 {
		return errors.New("no real server")
	}
	c.Mode, c.HealthPath = cmp.Or(c.Mode, ModeAuto), cmp.Or(c.HealthPath, DefaultHealthPath)
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Run keeps the virtual address alive until ctx ends. The kernel's rules and the route stay when it returns, so that a restart
// of the process cuts no connection; [Clean] removes them.
func Run(ctx context.Context, c Config) error {
	if err := c.complete(); err != nil {
		return err
	}
	b, err := newBalancer(ctx, &c)
	if err != nil {
		return err
	}
	k := &keeper{config: c, balancer: b, probe: httpProbe(c), route: ensureRoute, fails: map[netip.AddrPort]int{}}
	// The servers are used before the first check has answered: nodes join at once.
	if err := k.apply(); err != nil {
		return err
	}
	if c.RunOnce {
		return nil
	}
	return k.loop(ctx)
}

// Clean removes the virtual service and the route to its address, in whichever mode they were made. Nothing there is no error.
func Clean(vip netip.AddrPort) error {
	var errs []error
	if ipvsAvailable() == nil {
		b, err := newIPVS(vip)
		if err == nil {
			err = b.Clean()
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, removeRoute(vip.Addr()))...)
}

func newBalancer(ctx context.Context, c *Config) (Balancer, error) {
	if err := ensureRoute(c.VIP.Addr(), c.RealServers[0].Addr()); err != nil {
		return nil, err
	}
	switch c.Mode {
	case ModeIPVS, ModeAuto:
		err := ipvsAvailable()
		if err == nil {
			c.Log.Info("forwarding with ipvs", "vip", c.VIP)
			return newIPVS(c.VIP)
		}
		if c.Mode == ModeIPVS || c.RunOnce {
			return nil, fmt.Errorf("mode ipvs: %w (load the kernel modules ip_vs and ip_vs_rr, or use --mode proxy)", err)
		}
		c.Log.Warn("this kernel has no ip_vs: connections are forwarded by this process instead", "vip", c.VIP, "cause", err)
	case ModeProxy:
	default:
		return nil, fmt.Errorf("mode %q: expected auto, ipvs or proxy", c.Mode)
	}
	return newProxy(ctx, c.VIP, c.Log)
}

// keeper repeats: check health, plan, apply.
type keeper struct {
	config   Config
	balancer Balancer
	probe    func(context.Context, netip.AddrPort) error
	route    func(vip, server netip.Addr) error
	fails    map[netip.AddrPort]int
}

func (k *keeper) loop(ctx context.Context) error {
	for range wait.Every(ctx, k.config.Interval) {
		k.check(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// Only log it: the next round may succeed, and without the keeper nothing would repair it.
		if err := errors.Join(k.route(k.config.VIP.Addr(), k.config.RealServers[0].Addr()), k.apply()); err != nil {
			k.config.Log.Error("keep the virtual server", "vip", k.config.VIP, "error", err)
		}
	}
	return nil
}

// check probes all servers at once and counts failures in a row.
func (k *keeper) check(ctx context.Context) {
	type verdict struct {
		addr netip.AddrPort
		err  error
	}
	verdicts := make(chan verdict)
	for _, rs := range k.config.RealServers {
		go func() {
			pctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
			defer cancel()
			verdicts <- verdict{rs, k.probe(pctx, rs)}
		}()
	}
	for range k.config.RealServers {
		v := <-verdicts
		if ctx.Err() != nil {
			continue // the probes were cut off, so they say nothing about the servers
		}
		was := k.fails[v.addr]
		if v.err == nil {
			k.fails[v.addr] = 0
			if was > 0 {
				k.config.Log.Info("API server is back", "server", v.addr)
			}
			continue
		}
		k.fails[v.addr] = was + 1
		if was < 2 {
			k.config.Log.Warn("API server does not answer", "server", v.addr, "failures", was+1, "error", v.err)
		}
	}
}

func (k *keeper) apply() error {
	current, err := k.balancer.Servers()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range plan(current, k.config.RealServers, k.fails) {
		k.config.Log.Info("real server", "change", c.Op, "server", c.Server.Addr, "weight", c.Server.Weight)
		errs = append(errs, k.balancer.Apply(c))
	}
	return errors.Join(errs...)
}
