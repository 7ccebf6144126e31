package care

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// echo is a server that says its name and then echoes one line.
func echo(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				data, _ := io.ReadAll(c)
				fmt.Fprintf(c, "%s:%s", name, data)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func newTestProxy(t *testing.T, servers ...netip.AddrPort) (*proxy, string) {
	t.Helper()
	p, err := newProxy(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if err := p.Apply(Change{Add, at(s, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	return p, p.listener.Addr().String()
}

func ask(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "hi")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestProxyUsesAllServersAndPassesHalfClose(t *testing.T) {
	_, addr := newTestProxy(t, echo(t, "a"), echo(t, "b"))
	got := map[string]int{}
	for range 4 {
		got[ask(t, addr)]++
	}
	if got["a:hi"] != 2 || got["b:hi"] != 2 {
		t.Errorf("answers: %v", got)
	}
}

func TestProxyGoesOnWithTheNextServerWhenOneRefuses(t *testing.T) {
	dead, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := netip.MustParseAddrPort(dead.Addr().String())
	dead.Close()
	_, addr := newTestProxy(t, gone, echo(t, "live"))
	for range 3 {
		if got := ask(t, addr); got != "live:hi" {
			t.Fatalf("answer %q", got)
		}
	}
}

func TestTwoProxiesShareTheAddressWhileOneTakesOver(t *testing.T) {
	p, addr := newTestProxy(t, echo(t, "first"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	second, err := newProxy(ctx, netip.MustParseAddrPort(addr), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the second keeper cannot listen beside the first: %v", err)
	}
	if err := second.Apply(Change{Add, at(echo(t, "second"), 1)}); err != nil {
		t.Fatal(err)
	}
	if err := p.Clean(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, addr); got != "second:hi" {
		t.Errorf("answer %q", got)
	}
}

func TestHealthIsWhatTheServerAnswersOverTLS(t *testing.T) {
	code := http.StatusOK
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(code)
	}))
	defer srv.Close()
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // must not be used
	probe := httpProbe(DefaultHealthPath)
	addr := netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "https://"))
	for c, healthy := range map[int]bool{200: true, 401: true, 403: false, 500: false, 503: false} {
		code = c
		if err := probe(t.Context(), addr); (err == nil) != healthy {
			t.Errorf("status %d: %v", c, err)
		}
	}
}

// TestVirtualAddressIsLocalInARealKernel runs in a network namespace of its own.
func TestVirtualAddressIsLocalInARealKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	inNamespace(t, func() { testVirtualAddress(t) })
}

func testVirtualAddress(t *testing.T) {
	vip, server := netip.MustParseAddr("10.103.97.2"), netip.MustParseAddr("127.0.0.1")
	for range 2 { // again is no error
		if err := ensureRoute(vip, server); err != nil {
			t.Fatal(err)
		}
	}
	table, err := os.ReadFile("/proc/self/net/fib_trie")
	if err != nil {
		t.Fatal(err)
	}
	if !localIn(string(table), vip.String()) {
		t.Errorf("%s is not local:\n%s", vip, table)
	}
	for range 2 {
		if err := removeRoute(vip); err != nil {
			t.Fatal(err)
		}
	}
	if table, _ = os.ReadFile("/proc/self/net/fib_trie"); localIn(string(table), vip.String()) {
		t.Errorf("%s is still local", vip)
	}
}

func localIn(trie, ip string) bool {
	for s := bufio.NewScanner(strings.NewReader(trie)); s.Scan(); {
		if strings.HasSuffix(s.Text(), "-- "+ip) && s.Scan() {
			return strings.Contains(s.Text(), "/32 host LOCAL")
		}
	}
	return false
}

// TestModeAutoServesTheAddressWhateverTheKernelHas is the promise that joining
// nodes lean on: in a namespace of its own, a connection to the virtual address
// reaches a server, through ip_vs or, without it, through the proxy.
func TestModeAutoServesTheAddressWhateverTheKernelHas(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	inNamespace(t, func() {
		server := echo(t, "server")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		vip := netip.MustParseAddrPort("10.103.97.2:6443")
		c := Config{VIP: vip, RealServers: []netip.AddrPort{server}}
		if err := c.complete(); err != nil {
			t.Fatal(err)
		}
		b, _, err := newBalancer(ctx, &c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Servers(); err != nil {
			t.Fatal(err)
		}
		if err := b.Apply(Change{Add, at(server, 1)}); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, vip.String()); got != "server:hi" {
			t.Errorf("answer %q", got)
		}
	})
}

// inNamespace runs the rest of the test in a process of its own, in a new
// network namespace with loopback up: goroutines move between threads, so a
// namespace of one thread would not do.
func inNamespace(t *testing.T, fn func()) {
	t.Helper()
	const inside = "CARE_TEST_INSIDE_NAMESPACE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	fn()
}
