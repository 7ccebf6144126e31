package care

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// apiServer is an API server as far as a balancer can tell. It stops as kube-apiserver does: /readyz is red first, the port closes
// later, and requests that run end.
type apiServer struct {
	addr   netip.AddrPort
	server *http.Server
	red    atomic.Bool
	asked  atomic.Int64
}

func startAPI(t *testing.T, addr string, cert tls.Certificate) *apiServer {
	t.Helper()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return startAPIOn(t, l, cert)
}

func startAPIOn(t *testing.T, l net.Listener, cert tls.Certificate) *apiServer {
	t.Helper()
	a := &apiServer{addr: netip.MustParseAddrPort(l.Addr().String())}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if a.red.Load() {
			http.Error(w, "shutdown", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, _ *http.Request) {
		a.asked.Add(1)
		fmt.Fprint(w, a.addr)
	})
	mux.HandleFunc("/watch", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, a.addr.String()+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	a.server = &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	go func() { _ = a.server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { a.server.Close() })
	return a
}

// stop is SIGTERM, with a delay that is as long as the keeper takes, and a while for connections that were begun just before.
func (a *apiServer) stop(t *testing.T, s *site) {
	t.Helper()
	a.red.Store(true)
	s.until(t, func(now Status) bool {
		return !slices.ContainsFunc(now.Servers, func(x Server) bool { return x.Addr == a.addr && x.Weight > 0 })
	})
	time.Sleep(5 * beat)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
}

// untilAsked waits for a question.
func (a *apiServer) untilAsked(t *testing.T) {
	t.Helper()
	for range 400 {
		if a.asked.Load() > 0 {
			return
		}
		time.Sleep(beat / 2)
	}
	t.Errorf("%s is never asked", a.addr)
}

// site is a virtual address that a keeper serves through the proxy, with clients who ask all the time.
type site struct {
	list, vip string
	cert      tls.Certificate
	ctx       context.Context
}

const (
	beat  = 100 * time.Millisecond // the keeper's second
	drain = 10 * beat
)

func newSite(t *testing.T, servers ...string) (*site, []*apiServer) {
	t.Helper()
	helper := httptest.NewTLSServer(nil)
	helper.Close()
	dir, err := os.MkdirTemp("", "care") // shorter than TempDir: the name of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{list: filepath.Join(dir, "servers"), cert: helper.TLS.Certificates[0]}
	var up []*apiServer
	var addrs []netip.AddrPort
	for _, a := range servers {
		up = append(up, startAPI(t, a, s.cert))
		addrs = append(addrs, up[len(up)-1].addr)
	}
	s.tell(t, addrs...)
	c := Config{VIP: netip.MustParseAddrPort("127.0.0.1:1"), List: s.list, Interval: beat, Timeout: 10 * beat, Drain: drain, Log: slog.New(slog.DiscardHandler)}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := newProxy(ctx, netip.MustParseAddrPort("127.0.0.1:0"), c.Log)
	if err != nil {
		t.Fatal(err)
	}
	s.ctx, s.vip = ctx, p.listener.Addr().String()
	c.VIP = netip.MustParseAddrPort(s.vip)
	k := newKeeper(c, p, ModeProxy, httpProbe(c.HealthPath), func(netip.Addr, netip.Addr) error { return nil })
	if err := k.apply(); err != nil {
		t.Fatal(err)
	}
	if err := k.board.serve(ctx, s.list); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); k.loop(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s, up
}

// tell writes the list as the installer does.
func (s *site) tell(t *testing.T, servers ...netip.AddrPort) {
	t.Helper()
	s.tellList(t, List{Servers: servers})
}

func (s *site) tellList(t *testing.T, list List) {
	t.Helper()
	if err := os.WriteFile(s.list+".new", list.Format(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.list+".new", s.list); err != nil {
		t.Fatal(err)
	}
}

func (s *site) confirm(t *testing.T, servers ...netip.AddrPort) {
	t.Helper()
	s.confirmList(t, List{Servers: servers})
}

func (s *site) confirmList(t *testing.T, list List, ready ...netip.AddrPort) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := Confirm(ctx, s.list, netip.MustParseAddrPort(s.vip), list, ready...); err != nil {
		t.Fatal(err)
	}
}

// until waits for a status.
func (s *site) until(t *testing.T, is func(Status) bool) {
	t.Helper()
	var now Status
	var err error
	for range 200 {
		if now, err = Ask(t.Context(), s.list); err == nil && is(now) {
			return
		}
		time.Sleep(beat / 2)
	}
	t.Errorf("the status stays %s, %v", now, err)
}

func (s *site) client(fresh, http2 bool) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: fresh, ForceAttemptHTTP2: http2,
	}}
}

func (s *site) get(c *http.Client, path string) (string, error) {
	resp, err := c.Get("https://" + s.vip + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// ask has clients of every kind ask until the returned function is called, which tells how many questions there were, and fails the
// test for each that got no answer.
func (s *site) ask(t *testing.T) (end func() int64) {
	var asked atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	clients := []*http.Client{s.client(true, false), s.client(false, false), s.client(false, true), s.client(true, false)}
	for _, c := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				asked.Add(1)
				if _, err := s.get(c, "/who"); err != nil {
					t.Errorf("a question got no answer: %v", err)
				}
			}
		}()
	}
	return func() int64 {
		close(stop)
		for _, c := range clients {
			<-done
			c.CloseIdleConnections()
		}
		return asked.Load()
	}
}

// watch opens a request that does not end, and tells when it did.
func (s *site) watch(t *testing.T) (server string, ended <-chan struct{}) {
	t.Helper()
	resp, err := (&http.Client{Transport: s.client(true, false).Transport}).Get("https://" + s.vip + "/watch")
	if err != nil {
		t.Fatal(err)
	}
	name := make([]byte, 64)
	n, err := resp.Body.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		close(end)
	}()
	return strings.TrimSpace(string(name[:n])), end
}

func TestNoQuestionIsLostWhileTheListChanges(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0")
	watches := map[string]<-chan struct{}{}
	for range up {
		server, ended := s.watch(t)
		watches[server] = ended
	}
	if len(watches) != 3 {
		t.Fatalf("watches at %v", watches)
	}
	end := s.ask(t)
	a, b, c := up[0], up[1], up[2]
	for range 3 {
		s.tell(t, b.addr, c.addr)
		s.confirm(t, b.addr, c.addr)
		s.tell(t, a.addr, b.addr, c.addr)
		s.confirm(t, a.addr, b.addr, c.addr)
	}
	d := startAPI(t, "127.0.0.5:0", s.cert)
	s.tell(t, b.addr, c.addr, d.addr)
	s.confirm(t, b.addr, c.addr, d.addr)
	a.stop(t, s) // it ends its connections itself, but for one
	select {
	case <-watches[a.addr.String()]:
	case <-time.After(10 * time.Second):
		t.Error("the watch at the removed server never ends")
	}
	for _, stays := range []*apiServer{b, c} {
		select {
		case <-watches[stays.addr.String()]:
			t.Errorf("a watch at %s, which stays, ended", stays.addr)
		default:
		}
	}
	d.untilAsked(t)
	if n := end(); n < 20 {
		t.Errorf("only %d questions", n)
	}
}

func TestARemovedServerThatServesOnGetsNoNewConnection(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0")
	s.tell(t, up[1].addr)
	s.confirm(t, up[1].addr)
	fresh, before := s.client(true, false), up[0].asked.Load()
	for range 20 {
		if _, err := s.get(fresh, "/who"); err != nil {
			t.Error(err)
		}
	}
	if got := up[0].asked.Load(); got != before {
		t.Errorf("the removed server was asked %d times", got-before)
	}
}

func TestNoQuestionIsLostWhileServersStopAsPlanned(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0")
	end := s.ask(t)
	for i, a := range up { // one after the other, as an upgrade does
		a.stop(t, s)
		up[i] = startAPI(t, a.addr.String(), s.cert)
		s.until(t, func(now Status) bool {
			return !slices.ContainsFunc(now.Servers, func(x Server) bool { return x.Weight == 0 }) && len(now.Servers) == len(up)
		})
		up[i].untilAsked(t) // a server of its own, though of the same address
	}
	if n := end(); n < 20 {
		t.Errorf("only %d questions", n)
	}
}

func TestARefusedConnectionGoesToAnotherServerUnseen(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0")
	fresh := s.client(true, false)
	for range 3 {
		up[0].server.Close() // without a word
		for range 10 {       // some before the keeper has seen it
			if who, err := s.get(fresh, "/who"); err != nil || who != up[1].addr.String() {
				t.Fatalf("%s answered, %v", who, err)
			}
		}
		up[0] = startAPI(t, up[0].addr.String(), s.cert)
	}
}

func TestStatusTellsWhoIsServedHowAndWhatIsWrong(t *testing.T) {
	s, up := newSite(t, "127.0.0.2:0", "127.0.0.3:0")
	a, b := up[0], up[1]
	vip := netip.MustParseAddrPort(s.vip)
	ask := func(want string) {
		t.Helper()
		s.until(t, func(now Status) bool { return now.String() == want })
	}
	ask(fmt.Sprintf("%s by proxy: %s %s", vip, a.addr, b.addr))
	a.red.Store(true)
	ask(fmt.Sprintf("%s by proxy: %s(not ready) %s", vip, a.addr, b.addr))
	a.server.Close()
	ask(fmt.Sprintf("%s by proxy: %s %s(silent)", vip, b.addr, a.addr))
	if err := os.Remove(s.list); err != nil {
		t.Fatal(err)
	}
	ask(fmt.Sprintf("%s by proxy: %s %s(silent) problem: read the list of servers: open %s: no such file or directory", vip, b.addr, a.addr, s.list))
	ctx, cancel := context.WithTimeout(t.Context(), 3*beat)
	defer cancel()
	_, err := Confirm(ctx, s.list, vip, List{Servers: []netip.AddrPort{a.addr}})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("care keeps to [%s %s], not to [%s]", a.addr, b.addr, a.addr)) {
		t.Errorf("told %v", err)
	}
}

func TestWhereNoCareRunsItIsTold(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), beat)
	defer cancel()
	_, err := Confirm(ctx, filepath.Join(t.TempDir(), "servers"), m1, List{Servers: []netip.AddrPort{m2}})
	if err == nil || !strings.Contains(err.Error(), "no care follows") || !strings.Contains(err.Error(), "journalctl -u sealos-care") {
		t.Errorf("told %v", err)
	}
}
