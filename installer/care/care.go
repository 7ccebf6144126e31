// Package care keeps one virtual address of a cluster's API alive on a node: connections to VIP:PORT reach a healthy API
// server, whichever masters are up. It does what lvscare does for sealos, and more: the list of servers is a file that it follows,
// it removes real servers that are no longer masters, and restores the route that makes the virtual address local.
//
// Two balancers do the forwarding. ipvs programs the kernel. proxy forwards in this process, for kernels without ip_vs. Mode
// auto takes ipvs where the kernel answers and says so when it does not.
//
// Health is decided by GET https://SERVER/readyz, which an API server that is told to stop answers with an error while it still
// serves. A server that says so, or refuses connections, gets no new ones at once (weight 0), one that is only slow after two
// failures, and one that answers is back at once. Open connections are left to the server as long as it answers; to a server that
// does not, or is no longer listed, for ten seconds. When no server answers, all that do not refuse are kept: the check may be
// wrong, and then connections still work.
package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"
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
	DefaultInterval   = time.Second
	DefaultTimeout    = time.Second
	DefaultDrain      = 10 * time.Second
	DefaultHealthPath = "/readyz"
)

// Config says what to keep alive.
type Config struct {
	VIP         netip.AddrPort   // the virtual address and port, IPv4
	RealServers []netip.AddrPort // the API servers, if there is no List
	List        string           // a file that lists the API servers, which is followed; see [ParseList]
	first       List             // of that file, or the RealServers
	Mode        string           // ModeAuto when empty
	Interval    time.Duration    // between two health checks, and two looks at the list
	Timeout     time.Duration    // of one health check
	Drain       time.Duration    // how long open connections outlive a server's removal or silence, at most
	HealthPath  string
	RunOnce     bool // program the kernel once and return; needs ipvs
	Log         *slog.Logger
}

// Server is one real server as a balancer has it now.
type Server struct {
	Addr   netip.AddrPort `json:"addr"`
	Weight int            `json:"weight"` // 0 = no new connections
	Open   int            `json:"open"`   // connections
}

// Balancer forwards connections to the virtual address.
type Balancer interface {
	// Servers makes sure that the virtual service exists and lists its servers.
	Servers() ([]Server, error)
	// Apply makes a change. Deleting a server ends what is open to it.
	Apply(Change) error
	// Clean removes the virtual service and everything made for it.
	Clean() error
}

func (c *Config) complete() error {
	if !c.VIP.IsValid() || !c.VIP.Addr().Is4() || c.VIP.Port() == 0 {
		return fmt.Errorf("virtual server %s: expected IPv4:PORT", c.VIP)
	}
	c.first = List{Servers: c.RealServers}
	if c.List != "" {
		var err error
		if c.first, err = ReadList(c.List); err != nil {
			return err
		}
	}
	if len(c.first.Servers) == 0 {
		return errors.New("no real server")
	}
	c.Mode, c.HealthPath = cmp.Or(c.Mode, ModeAuto), cmp.Or(c.HealthPath, DefaultHealthPath)
	for have, otherwise := range map[*time.Duration]time.Duration{&c.Interval: DefaultInterval, &c.Timeout: DefaultTimeout, &c.Drain: DefaultDrain} {
		if *have <= 0 {
			*have = otherwise
		}
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
	b, mode, err := newBalancer(ctx, &c)
	if err != nil {
		return err
	}
	k := newKeeper(c, b, mode, httpProbe(c.HealthPath), ensureRoute)
	// The servers are used before the first check has answered: nodes join at once.
	if err := k.apply(); err != nil {
		return err
	}
	if c.RunOnce {
		return nil
	}
	if c.List != "" {
		// The address matters more than who can ask about it.
		if err := k.board.serve(ctx, c.List); err != nil {
			c.Log.Error("no status for `care --check`", "error", err)
		}
	}
	k.loop(ctx)
	return nil
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

func newBalancer(ctx context.Context, c *Config) (b Balancer, mode string, err error) {
	if err := ensureRoute(c.VIP.Addr(), c.first.Servers[0].Addr()); err != nil {
		return nil, "", err
	}
	switch c.Mode {
	case ModeIPVS, ModeAuto:
		err := ipvsAvailable()
		if err == nil {
			c.Log.Info("forwarding with ipvs", "vip", c.VIP)
			if err := endOfDeleted(); err != nil {
				c.Log.Warn("clients of a server that is removed are not told that their connections ended", "error", err)
			}
			b, err := newIPVS(c.VIP)
			return b, ModeIPVS, err
		}
		if c.Mode == ModeIPVS || c.RunOnce {
			return nil, "", fmt.Errorf("mode ipvs: %w (load the kernel modules ip_vs and ip_vs_rr, or use --mode proxy)", err)
		}
		c.Log.Warn("this kernel has no ip_vs: connections are forwarded by this process instead", "vip", c.VIP, "cause", err)
	case ModeProxy:
	default:
		return nil, "", fmt.Errorf("mode %q: expected auto, ipvs or proxy", c.Mode)
	}
	p, err := newProxy(ctx, c.VIP, c.Log)
	return p, ModeProxy, err
}

// keeper repeats: look at the list, check health, plan, apply.
type keeper struct {
	config   Config
	mode     string
	balancer Balancer
	probe    func(context.Context, netip.AddrPort) error
	route    func(vip, server netip.Addr) error
	list     List // in force
	fails    map[netip.AddrPort]int
	found    map[netip.AddrPort]standing
	left     map[netip.AddrPort]time.Time // since when a server is to go
	problem  string                       // of the list
	board    *board
}

func newKeeper(c Config, b Balancer, mode string, probe func(context.Context, netip.AddrPort) error, route func(vip, server netip.Addr) error) *keeper {
	return &keeper{
		config: c, mode: mode, balancer: b, probe: probe, route: route, list: c.first, board: new(board),
		fails: map[netip.AddrPort]int{}, found: map[netip.AddrPort]standing{}, left: map[netip.AddrPort]time.Time{},
	}
}

func (k *keeper) loop(ctx context.Context) {
	// Only log errors: the next round may succeed, and without the keeper nothing would repair it.
	keep := func(err error) {
		if err != nil {
			k.config.Log.Error("keep the virtual server", "vip", k.config.VIP, "error", err)
		}
	}
	k.check(ctx, func() { keep(k.apply()) }) // at once: what was out when an earlier keeper ended may still be
	for range wait.Every(ctx, k.config.Interval) {
		k.follow()
		keep(errors.Join(k.route(k.config.VIP.Addr(), k.list.Servers[0].Addr()), k.apply()))
		k.check(ctx, func() { keep(k.apply()) })
	}
}

// follow takes over the list of the file. One that is broken or absent leaves the last good one in force.
func (k *keeper) follow() {
	if k.config.List == "" {
		return
	}
	list, err := ReadList(k.config.List)
	switch {
	case err != nil && k.problem != err.Error():
		k.problem = err.Error()
		k.config.Log.Error("the last good list stays in force", "servers", k.list.Servers, "error", err)
	case err == nil:
		k.problem = ""
		if !list.equal(k.list) {
			k.config.Log.Info("another list of servers", "servers", list.Servers, "withheld", list.Withheld)
			k.list = list
		}
	}
}

// check probes all servers at once, and calls apply whenever one has another standing.
func (k *keeper) check(ctx context.Context, apply func()) {
	type verdict struct {
		addr netip.AddrPort
		err  error
	}
	verdicts := make(chan verdict)
	for _, rs := range k.list.Servers {
		go func() {
			pctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
			defer cancel()
			verdicts <- verdict{rs, k.probe(pctx, rs)}
		}()
	}
	for range k.list.Servers {
		v := <-verdicts
		if ctx.Err() != nil {
			continue // the probes were cut off, so they say nothing about the servers
		}
		was := k.found[v.addr]
		k.judge(v.addr, v.err)
		if is := k.found[v.addr]; is != was {
			apply()
		}
	}
}

// judge counts failures in a row.
func (k *keeper) judge(a netip.AddrPort, err error) {
	if err == nil {
		if k.fails[a] > 0 {
			k.config.Log.Info("API server is back", "server", a)
		}
		k.fails[a], k.found[a] = 0, fit
		return
	}
	k.fails[a]++
	if k.fails[a] <= 2 {
		k.config.Log.Warn("API server does not say that it is ready", "server", a, "failures", k.fails[a], "error", err)
	}
	_, answered := errors.AsType[answerError](err)
	switch {
	case answered:
		k.found[a] = unready
	case errors.Is(err, syscall.ECONNREFUSED):
		k.found[a] = refusing
	case k.fails[a] >= 2:
		k.found[a] = silent
	}
}

func (k *keeper) apply() error {
	current, err := k.balancer.Servers()
	if err != nil {
		return err
	}
	k.noteLeaving(current)
	var errs []error
	changes := plan(current, k.list, k.found, k.drained)
	for _, c := range changes {
		k.config.Log.Info("real server", "change", c.Op, "server", c.Server.Addr, "weight", c.Server.Weight)
		errs = append(errs, k.balancer.Apply(c))
	}
	if len(changes) > 0 {
		current, err = k.balancer.Servers()
		errs = append(errs, err)
	}
	s := Status{VIP: k.config.VIP, Mode: k.mode, Wanted: k.list.Servers, Withheld: k.list.Withheld, Servers: current, Problem: k.problem}
	for _, a := range k.list.Servers {
		if is, probed := k.found[a]; probed && is == fit {
			s.Ready = append(s.Ready, a)
		}
	}
	err = errors.Join(errs...)
	if err != nil {
		s.Problem = err.Error()
	}
	k.board.put(s)
	return err
}

// noteLeaving remembers since when servers are to go.
func (k *keeper) noteLeaving(current []Server) {
	take, was := taking(k.list, k.found), k.left
	k.left = map[netip.AddrPort]time.Time{}
	for _, s := range current {
		if slices.Contains(take, s.Addr) || !leaves(s.Addr, k.list.Servers, k.found) {
			continue
		}
		k.left[s.Addr] = time.Now()
		if since, ok := was[s.Addr]; ok {
			k.left[s.Addr] = since
		}
	}
}

// drained tells whether a server that gets no new connections may go: none is open, or they had their time. Those that began in
// the moment before are counted only after another.
func (k *keeper) drained(s Server) bool {
	gone := time.Since(k.left[s.Addr])
	return s.Open == 0 && gone >= k.config.Interval || gone >= k.config.Drain
}
