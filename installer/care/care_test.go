package care

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// table is a balancer in memory.
type table struct {
	mu      sync.Mutex
	servers []Server
}

func (b *table) Servers() ([]Server, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.servers), nil
}

func (b *table) Apply(c Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = slices.DeleteFunc(b.servers, func(s Server) bool { return s.Addr == c.Server.Addr })
	if c.Op != Delete {
		b.servers = append(b.servers, c.Server)
	}
	return nil
}

func (b *table) Clean() error { return nil }

func TestServersAreDrainedRemovedAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{}
		var mu sync.Mutex
		down := map[netip.AddrPort]bool{}
		routes := 0
		k := &keeper{
			config:   Config{VIP: netip.MustParseAddrPort("10.103.97.2:6443"), RealServers: []netip.AddrPort{m1, m2}, Interval: time.Second, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)},
			balancer: b, fails: map[netip.AddrPort]int{},
			probe: func(_ context.Context, a netip.AddrPort) error {
				mu.Lock()
				defer mu.Unlock()
				if down[a] {
					return errors.New("down")
				}
				return nil
			},
			route: func(netip.Addr, netip.Addr) error { routes++; return nil },
		}
		if err := k.apply(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.loop(ctx) }()
		set := func(a netip.AddrPort, v bool) { mu.Lock(); down[a] = v; mu.Unlock() }
		expect := func(when string, want ...Server) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			got, _ := b.Servers()
			slices.SortFunc(got, func(x, y Server) int { return x.Addr.Compare(y.Addr) })
			if d := cmp.Diff(want, got, sameAddr); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		time.Sleep(time.Second / 2) // between two ticks
		expect("at first", Server{m1, 1}, Server{m2, 1})
		set(m2, true)
		expect("after one failure", Server{m1, 1}, Server{m2, 0})
		expect("after two", Server{m1, 1})
		set(m2, false)
		expect("back", Server{m1, 1}, Server{m2, 1})
		if routes < 4 {
			t.Errorf("the route was re-asserted %d times in 4 ticks", routes)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestConfigurationIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	for _, c := range []Config{
		{},
		{VIP: netip.MustParseAddrPort("10.0.0.1:6443")},
		{VIP: netip.MustParseAddrPort("[fd00::1]:6443"), RealServers: []netip.AddrPort{m1}},
		{VIP: netip.MustParseAddrPort("10.0.0.1:0"), RealServers: []netip.AddrPort{m1}},
	} {
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
