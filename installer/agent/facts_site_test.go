package agent

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFirewallsThatAreOnAreNamed(t *testing.T) {
	m := machine{root: t.TempDir()}
	if got := m.firewalls(t.Context(), m.processes()); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	write(t, m.path("/etc/ufw/ufw.conf"), "# x\nENABLED=no\n", 0o644)
	if got := m.firewalls(t.Context(), m.processes()); len(got) != 0 {
		t.Errorf("ufw that is off: %v", got)
	}
	write(t, m.path("/etc/ufw/ufw.conf"), "ENABLED=yes\nLOGLEVEL=low\n", 0o644)
	write(t, m.path("/proc/12/comm"), "firewalld\n", 0o644)
	if diff := cmp.Diff([]string{"firewalld", "ufw"}, m.firewalls(t.Context(), m.processes())); diff != "" {
		t.Error(diff)
	}
}

func TestNftablesThatDropWhatComesInAreTold(t *testing.T) {
	for text, want := range map[string]bool{
		`{"nftables":[{"metainfo":{}},{"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}}]}`: true,
		`{"nftables":[{"chain":{"name":"input","hook":"input","policy":"accept"}},{"chain":{"hook":"forward","policy":"drop"}}]}`:   false,
		`{"nftables":[]}`: false, `[`: false, ``: false,
	} {
		if got := nftablesDrop([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTimeServiceIsNamed(t *testing.T) {
	m := machine{root: t.TempDir()}
	if got := timeService(m.processes()); got != "" {
		t.Errorf("empty host: %q", got)
	}
	write(t, m.path("/proc/9/comm"), "systemd-timesyn\n", 0o644)
	if got := timeService(m.processes()); got != "systemd-timesyncd" {
		t.Errorf("%q", got)
	}
	write(t, m.path("/proc/10/comm"), "chronyd\n", 0o644)
	if got := timeService(m.processes()); got != "chronyd" {
		t.Errorf("%q", got)
	}
}

func TestOptionsOfTheResolverAreRead(t *testing.T) {
	for line, want := range map[string]Lookup{
		"":                                    {5, 2},
		"options timeout:1 attempts:3 rotate": {1, 3},
		"options timeout:99 attempts:99":      {30, 5},
		"options timeout:-1 attempts:x edns0": {5, 2},
		"# options timeout:1":                 {5, 2},
		"search a\noptions ndots:1\noptions timeout:2": {2, 2},
	} {
		m := machine{root: t.TempDir()}
		write(t, m.path("/etc/resolv.conf"), line+"\n", 0o644)
		if got := lookupOf(m.lines("/etc/resolv.conf")); got != want {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestWhatANetworkOfPodsLeftIsFound(t *testing.T) {
	m := machine{root: t.TempDir()}
	if got := m.cniTraces(); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	write(t, m.path("/etc/cni/net.d/10-flannel.conflist"), "{}", 0o644)
	write(t, m.path("/etc/cni/net.d/.keep"), "", 0o644)
	write(t, m.path("/sys/class/net/cni0/address"), "", 0o644)
	if diff := cmp.Diff([]string{"/etc/cni/net.d/10-flannel.conflist", "network link cni0"}, m.cniTraces()); diff != "" {
		t.Error(diff)
	}
}

func TestPortsAreReachedOnlyWhileTheyAreHeldOpen(t *testing.T) {
	everyAgent(t, func(t *testing.T, a *Agent) {
		open, taken := freePort(t), freePort(t)
		other, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: taken})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		go func() {
			for {
				conn, err := other.Accept()
				if err != nil {
					return
				}
				conn.Write([]byte("SSH-2.0-somebody else\n"))
				conn.Close()
			}
		}()
		l, err := a.Listen(t.Context(), "127.0.0.1", []int{open, taken}, "open sesame")
		if err != nil {
			t.Fatal(err)
		}
		ends := []Endpoint{{"127.0.0.1", open}, {"127.0.0.1", taken}, {"127.0.0.1", freePort(t)}, {"example", 1}}
		got, err := a.Reach(t.Context(), ends, "open sesame")
		if err != nil {
			t.Fatal(err)
		}
		want := []Unreached{{ends[1], "another answers"}, {ends[2], "refused"}, {ends[3], "not an address"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		busy, err := l.Close()
		if err != nil || !slices.Equal(busy, []int{taken}) {
			t.Errorf("busy %v, %v", busy, err)
		}
		if got, err := a.Reach(t.Context(), ends[:1], "open sesame"); err != nil || len(got) != 1 || got[0].Why != "refused" {
			t.Errorf("after Close: %+v, %v", got, err)
		}
	})
}

func TestAPortThatSaysNothingIsSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepted: the kernel takes the connection, and nothing comes back
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := Endpoint{"127.0.0.1", l.Addr().(*net.TCPAddr).Port}
	got, err := localAgent(t).Reach(t.Context(), []Endpoint{e}, "word")
	if err != nil || len(got) != 1 || got[0].Why != "silent" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestListenerEndsWithItsContext(t *testing.T) {
	port := freePort(t)
	a := localAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := a.Listen(ctx, "127.0.0.1", []int{port}, "word")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Close() // it may have noticed already
	if got, err := a.Reach(t.Context(), []Endpoint{{"127.0.0.1", port}}, "word"); err != nil || len(got) != 1 {
		t.Errorf("the port is still open: %+v, %v", got, err)
	}
	if _, err := a.Listen(t.Context(), "127.0.0.1", make([]int, maxListeners+1), "word"); err == nil {
		t.Error("too many ports were taken")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
