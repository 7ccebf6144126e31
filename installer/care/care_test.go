package care

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	open := 0
	b.servers = slices.DeleteFunc(b.servers, func(s Server) bool {
		if s.Addr == c.Server.Addr {
			open = s.Open
		}
		return s.Addr == c.Server.Addr
	})
	if c.Op != Delete {
		b.servers = append(b.servers, Server{c.Server.Addr, c.Server.Weight, open})
	}
	return nil
}

func (b *table) Clean() error { return nil }

// open sets the number of connections that are open to a server.
func (b *table) open(a netip.AddrPort, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.servers {
		if b.servers[i].Addr == a {
			b.servers[i].Open = n
		}
	}
}

// kept is a keeper that runs in the time of a test, between two of its ticks.
type kept struct {
	*table
	mu     sync.Mutex
	answer map[netip.AddrPort]error
	hangs  map[netip.AddrPort]bool
	routes int
	list   string
	log    logged
}

// logged is a log that a test reads while it is written.
type logged struct {
	mu   sync.Mutex
	text []byte
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

// take gives what was written since the last time.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text)
	l.text = nil
	return text
}

func newKept(t *testing.T, servers ...netip.AddrPort) *kept {
	t.Helper()
	b := &kept{table: new(table), answer: map[netip.AddrPort]error{}, hangs: map[netip.AddrPort]bool{}, list: filepath.Join(t.TempDir(), "servers")}
	b.write(t, string(List{Servers: servers}.Format()))
	c := Config{VIP: netip.MustParseAddrPort("10.103.97.2:6443"), List: b.list, Log: slog.New(slog.NewTextHandler(&b.log, nil))}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(c, b.table, ModeProxy, func(ctx context.Context, a netip.AddrPort) error {
		b.mu.Lock()
		err, hangs := b.answer[a], b.hangs[a]
		b.mu.Unlock()
		if hangs {
			<-ctx.Done()
			return ctx.Err()
		}
		return err
	}, func(netip.Addr, netip.Addr) error { b.mu.Lock(); b.routes++; b.mu.Unlock(); return nil })
	if err := k.apply(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.loop(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	time.Sleep(DefaultInterval / 2)
	return b
}

func (b *kept) set(a netip.AddrPort, err error, hangs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer[a], b.hangs[a] = err, hangs
}

// write replaces the list as the installer does.
func (b *kept) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(b.list+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.list+".new", b.list); err != nil {
		t.Fatal(err)
	}
}

// expect lets time pass, and compares the servers.
func (b *kept) expect(t *testing.T, after time.Duration, when string, want ...Server) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	got, _ := b.Servers()
	slices.SortFunc(got, func(x, y Server) int { return x.Addr.Compare(y.Addr) })
	if d := cmp.Diff(want, got, sameAddr); d != "" {
		t.Errorf("%s: %s", when, d)
	}
}

var errRefused = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)

func TestServerThatRefusesIsOutAtOnceAndBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.expect(t, time.Second, "at first", at(m1, 1), at(m2, 1))
		b.open(m2, 2)
		b.set(m2, errRefused, false)
		b.expect(t, time.Second, "after one refusal", at(m1, 1), at(m2, 0, 2))
		b.expect(t, 9*time.Second, "while its connections have time", at(m1, 1), at(m2, 0, 2))
		b.expect(t, time.Second, "after that", at(m1, 1))
		b.set(m2, nil, false)
		b.expect(t, time.Second, "back", at(m1, 1), at(m2, 1))
		b.set(m2, errRefused, false)
		b.expect(t, 2*time.Second, "refusing without connections", at(m1, 1))
		if b.routes < 14 {
			t.Errorf("the route was re-asserted %d times in 15 ticks", b.routes)
		}
	})
}

func TestServerThatStopsKeepsItsConnectionsForAsLongAsItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.open(m2, 1)
		b.set(m2, answerError{"/readyz", "500 Internal Server Error", 500}, false)
		b.expect(t, time.Second, "after one answer", at(m1, 1), at(m2, 0, 1))
		b.expect(t, time.Minute, "a minute later", at(m1, 1), at(m2, 0, 1))
		b.set(m2, nil, false)
		b.expect(t, time.Second, "ready again", at(m1, 1), at(m2, 1, 1))
	})
}

func TestAServerThatDoesNotKnowItsRulesYetGetsNoConnectionsUnlessAllSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		forbidden := answerError{"/readyz", "403 Forbidden", 403}
		b.set(m2, forbidden, false)
		b.expect(t, time.Second, "one that has just begun", at(m1, 1), at(m2, 0))
		b.set(m1, forbidden, false)
		b.expect(t, time.Second, "where anonymous clients get nothing else", at(m1, 1), at(m2, 1))
	})
}

func TestSlowServerIsOutAfterTwoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.set(m2, nil, true)
		b.expect(t, 1900*time.Millisecond, "one failure", at(m1, 1), at(m2, 1))
		b.expect(t, 800*time.Millisecond, "two", at(m1, 1), at(m2, 0))
		// A server that hangs keeps nobody waiting: another that refuses is out within the same second.
		b.write(t, string(List{Servers: []netip.AddrPort{m1, m2, m3}}.Format()))
		b.expect(t, 2*time.Second, "one more", at(m1, 1), at(m3, 1))
		b.set(m3, errRefused, false)
		b.expect(t, 1100*time.Millisecond, "refusing", at(m1, 1), at(m3, 0))
		b.set(m2, nil, false)
		b.set(m3, nil, false)
		b.expect(t, 2*time.Second, "all back", at(m1, 1), at(m2, 1), at(m3, 1))
	})
}

func TestAListIsInForceWithinTwoSecondsAndTakesFromNobodyWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.open(m1, 5)
		b.open(m2, 1)
		b.set(m1, nil, true) // as late as it can be: every round waits for a server that hangs
		time.Sleep(time.Second)
		b.write(t, string(List{Servers: []netip.AddrPort{m1, m3}}.Format()))
		b.expect(t, 2*time.Second, "the list in force", at(m1, 0, 5), at(m2, 0, 1), at(m3, 1))
		b.set(m1, nil, false)
		b.expect(t, 7*time.Second, "the removed server has its connection", at(m1, 1, 5), at(m2, 0, 1), at(m3, 1))
		b.expect(t, 4*time.Second, "not for ever", at(m1, 1, 5), at(m3, 1))
		b.write(t, string(List{Servers: []netip.AddrPort{m3}}.Format()))
		b.expect(t, 2*time.Second, "the next one", at(m1, 0, 5), at(m3, 1))
		b.open(m1, 0)
		b.expect(t, 2*time.Second, "the server has ended them", at(m3, 1))
	})
}

func TestABrokenListLeavesTheLastGoodOneInForceAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		for _, broken := range []string{"", "10.0.0.3\n", "10.0.0.3:6443\n10.0.0.3:6443\n", "[fd00::1]:6443\n", "# nothing\n"} {
			b.log.take()
			b.write(t, broken)
			b.expect(t, 3*time.Second, fmt.Sprintf("%q", broken), at(m1, 1), at(m2, 1))
			if told := b.log.take(); strings.Count(told, "the last good list stays in force") != 1 {
				t.Errorf("%q: told %s", broken, told)
			}
		}
		if err := os.Remove(b.list); err != nil {
			t.Fatal(err)
		}
		b.expect(t, 3*time.Second, "no file", at(m1, 1), at(m2, 1))
		if told := b.log.take(); !strings.Contains(told, "no such file") {
			t.Errorf("told %s", told)
		}
		b.write(t, "# the third\n\n10.0.0.3:6443\n")
		b.expect(t, 4*time.Second, "a good one", at(m3, 1))
	})
}

// TestAServerThatIsOutWhenCareStartsGetsNoConnectionsForLong has one that refuses from the first moment on.
func TestAServerThatIsOutWhenCareStartsGetsNoConnectionsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{}
		c := Config{VIP: netip.MustParseAddrPort("10.103.97.2:6443"), RealServers: []netip.AddrPort{m1, m2}}
		if err := c.complete(); err != nil {
			t.Fatal(err)
		}
		k := newKeeper(c, b, ModeProxy, func(_ context.Context, a netip.AddrPort) error {
			if a == m2 {
				return errRefused
			}
			return nil
		}, func(netip.Addr, netip.Addr) error { return nil })
		if err := k.apply(); err != nil {
			t.Fatal(err)
		}
		go k.loop(t.Context())
		synctest.Wait() // no time passes
		got, _ := b.Servers()
		if d := cmp.Diff([]Server{at(m1, 1), at(m2, 0)}, got, sameAddr); d != "" {
			t.Error(d)
		}
	})
}

func TestNoneIsGivenUpWhenNoneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.set(m1, nil, true)
		b.set(m2, errors.New("no route to host"), false)
		b.expect(t, 20*time.Second, "all silent", at(m1, 1), at(m2, 1))
		b.set(m1, errRefused, false)
		b.set(m2, errRefused, false)
		b.expect(t, 20*time.Second, "all refusing", at(m1, 1), at(m2, 1))
	})
}

func TestConfigurationIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "servers")
	if err := os.WriteFile(broken, []byte("m1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddrPort("10.0.0.1:6443")
	for _, c := range []Config{
		{},
		{VIP: vip},
		{VIP: netip.MustParseAddrPort("[fd00::1]:6443"), RealServers: []netip.AddrPort{m1}},
		{VIP: netip.MustParseAddrPort("10.0.0.1:0"), RealServers: []netip.AddrPort{m1}},
		{VIP: vip, List: broken},
		{VIP: vip, List: broken + "absent"},
	} {
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
