package care

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoQuestionIsLostWhileAServerIsWithheldUpgradedAndReleased is what an upgrade does with each master.
func TestNoQuestionIsLostWhileAServerIsWithheldUpgradedAndReleased(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0")
	a := up[0]
	all := []netip.AddrPort{up[0].addr, up[1].addr, up[2].addr}
	watches := map[string]<-chan struct{}{}
	for range up {
		server, ended := s.watch(t)
		watches[server] = ended
	}
	var kept *http.Client // with a connection to a
	for range up {
		c := s.client(false, true)
		if who, err := s.get(c, "/who"); err != nil {
			t.Fatal(err)
		} else if who == a.addr.String() {
			kept = c
		}
	}
	if len(watches) != 3 || kept == nil {
		t.Fatalf("watches at %v", watches)
	}
	end := s.ask(t)
	fresh := s.client(true, false)
	elsewhere := func(when string) {
		t.Helper()
		for range 20 {
			if who, err := s.get(fresh, "/who"); err != nil || who == a.addr.String() {
				t.Errorf("%s: a new connection is answered by %s, %v", when, who, err)
			}
		}
	}
	s.tellList(t, List{all, all[:1]})
	s.confirmList(t, List{all, all[:1]})
	elsewhere("withheld")
	if who, err := s.get(kept, "/who"); err != nil || who != a.addr.String() {
		t.Errorf("the connection that was open is answered by %s, %v", who, err)
	}
	for server, ended := range watches {
		select {
		case <-ended:
			t.Errorf("the watch at %s ended", server)
		default:
		}
	}
	a.stop(t, s)
	a.server.Close() // a watch does not end by itself
	select {
	case <-watches[a.addr.String()]:
	case <-time.After(10 * time.Second):
		t.Error("the watch at the server that stopped is not told")
	}
	if who, err := s.get(kept, "/who"); err != nil || who == a.addr.String() {
		t.Errorf("the connection to the server that stopped: %s answers, %v", who, err)
	}
	elsewhere("stopped")
	up[0] = startAPI(t, a.addr.String(), s.cert)
	s.until(t, func(now Status) bool { return len(now.Ready) == 3 })
	elsewhere("back, and withheld")
	s.tell(t, all...)
	s.confirmList(t, List{Servers: all}, a.addr)
	up[0].untilAsked(t)
	if n := end(); n < 20 {
		t.Errorf("only %d questions", n)
	}
}

func TestAServerIsReleasedOnlyWhenItSaysThatItIsReady(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0")
	a, all := up[0], []netip.AddrPort{up[0].addr, up[1].addr}
	confirm := func(list List, ready ...netip.AddrPort) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*beat)
		defer cancel()
		_, err := Confirm(ctx, s.list, netip.MustParseAddrPort(s.vip), list, ready...)
		return err
	}
	a.red.Store(true)
	s.until(t, func(now Status) bool { return len(now.Ready) == 1 })
	if err := confirm(List{Servers: all}); err != nil {
		t.Error(err)
	}
	if err := confirm(List{Servers: all}, a.addr); err == nil || !strings.Contains(err.Error(), a.addr.String()+"(not ready)") {
		t.Errorf("told %v", err)
	}
	// It is used though it is not ready, because no other is.
	up[1].red.Store(true)
	s.until(t, func(now Status) bool {
		return len(now.Ready) == 0 && len(now.Servers) == 2 && now.Servers[0].Weight > 0
	})
	if err := confirm(List{Servers: all}, a.addr); err == nil || !strings.Contains(err.Error(), "are ready") {
		t.Errorf("told %v", err)
	}
	a.red.Store(false)
	s.confirmList(t, List{Servers: all}, a.addr)
}

func TestAWithheldServerThatIsTheOnlyOneReadyIsUsedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKept(t, m1, m2)
		b.open(m2, 3)
		list := List{Servers: []netip.AddrPort{m1, m2}, Withheld: []netip.AddrPort{m2}}
		b.write(t, string(list.Format()))
		b.expect(t, time.Second, "withheld", at(m1, 1), at(m2, 0, 3))
		b.expect(t, time.Minute, "its connections have time without end", at(m1, 1), at(m2, 0, 3))
		b.set(m1, errRefused, false)
		b.expect(t, time.Second, "the other refuses", at(m1, 0), at(m2, 1, 3))
		b.set(m1, nil, false)
		b.expect(t, time.Second, "the other is back", at(m1, 1), at(m2, 0, 3))
		b.write(t, string(List{Servers: list.Servers}.Format()))
		b.expect(t, time.Second, "released", at(m1, 1), at(m2, 1, 3))
	})
	used := Status{VIP: m3, Mode: ModeIPVS, Wanted: []netip.AddrPort{m1, m2}, Withheld: []netip.AddrPort{m2}, Servers: []Server{at(m1, 0), at(m2, 1)}}
	err := used.follows(m3, List{Servers: used.Wanted, Withheld: used.Withheld}, nil)
	if err == nil || !strings.Contains(err.Error(), "one still gets connections, since no other server is ready") {
		t.Errorf("told %v", err)
	}
}

// TestACareThatIsOlderDoesNotConfirm has one that takes the line for a comment, and says nothing of withheld or ready servers.
func TestACareThatIsOlderDoesNotConfirm(t *testing.T) {
	older := Status{VIP: m3, Mode: ModeIPVS, Wanted: []netip.AddrPort{m1, m2}, Servers: []Server{at(m1, 1), at(m2, 1)}}
	if err := older.follows(m3, List{Servers: older.Wanted}, nil); err != nil {
		t.Error(err)
	}
	err := older.follows(m3, List{Servers: older.Wanted, Withheld: []netip.AddrPort{m2}}, nil)
	if err == nil || !strings.Contains(err.Error(), "care withholds [], not [10.0.0.2:6443]") {
		t.Errorf("told %v", err)
	}
}
