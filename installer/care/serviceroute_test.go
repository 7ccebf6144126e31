package care

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLastAddressOfANetwork(t *testing.T) {
	for network, want := range map[string]string{"10.96.0.0/22": "10.96.3.254", "10.96.0.0/12": "10.111.255.254", "192.0.2.0/30": "192.0.2.2"} {
		if got := last(netip.MustParsePrefix(network)); got.String() != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
}

// apart runs a test in a network of its own, in a process of its own. There it gives the command `ip`, and nil to the test that
// has begun that process. The host has the address 192.0.2.1/24 and no route but that.
func apart(t *testing.T) func(args ...string) string {
	t.Helper()
	const apart = "CARE_TEST_APART"
	if os.Getenv(apart) == "" {
		if os.Geteuid() != 0 {
			t.Skip("a network of its own needs root")
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), apart+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		switch {
		case cmd.Process == nil:
			t.Skipf("no network of its own here: %v", err)
		case err != nil:
			t.Fatalf("%v\n%s", err, out)
		case strings.Contains(string(out), "--- SKIP"):
			t.Skipf("%s", out)
		}
		return nil
	}
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	ip("link", "set", "lo", "up")
	ip("link", "add", "lan", "type", "bridge")
	ip("address", "add", "192.0.2.1/24", "dev", "lan")
	ip("link", "set", "lan", "up")
	return ip
}

// TestHostWithoutARouteGetsOneAndGivesItBack works in a network of its own, in a process of its own.
func TestHostWithoutARouteGetsOneAndGivesItBack(t *testing.T) {
	ip := apart(t)
	if ip == nil {
		return
	}
	services := netip.MustParsePrefix("10.96.0.0/22")
	expect := func(when string, wantOurs, wantAdded bool) {
		t.Helper()
		ours, added, err := EnsureServiceRoute(services)
		if err != nil || ours != wantOurs || added != wantAdded {
			t.Errorf("%s: ours %v, added %v, %v", when, ours, added, err)
		}
	}
	if Routed(services) {
		t.Error("a host without a route says it has one")
	}
	// As kube-proxy does with a Service that has one endpoint.
	api, err := net.Listen("tcp", "192.0.2.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	out, err := exec.Command("iptables", "-t", "nat", "-A", "OUTPUT", "-d", "10.96.0.1", "-p", "tcp", "--dport", "443", "-j", "DNAT", "--to-destination", api.Addr().String()).CombinedOutput()
	rewritten := err == nil
	if !rewritten {
		t.Logf("no packet filter here, so that connections are not tried: %v: %s", err, out)
	}
	connect := func() error {
		conn, err := net.DialTimeout("tcp", "10.96.0.1:443", 2*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := connect(); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("without a route a Service is reached: %v", err)
	}
	expect("no route", true, true)
	if err := connect(); rewritten && err != nil {
		t.Errorf("with the route no Service is reached: %v", err)
	}
	expect("again", true, false)
	if !Routed(services) {
		t.Error("the route is not found")
	}
	if routes := ip("route"); !strings.Contains(routes, "10.96.0.0/22 dev lo proto 83") {
		t.Errorf("routes:\n%s", routes)
	}
	if got := ip("route", "get", "10.96.0.1"); !strings.Contains(got, "src 192.0.2.1") {
		t.Errorf("connections come from %s", got)
	}
	ip("link", "set", "lan", "down")
	ip("link", "set", "lan", "up")
	if !Routed(services) {
		t.Error("the route went with a link")
	}
	if err := RemoveServiceRoutes(); err != nil || Routed(services) {
		t.Errorf("not removed: %v", err)
	}
	if err := RemoveServiceRoutes(); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	ip("route", "add", "10.96.0.0/23", "via", "192.0.2.9")
	if Routed(services) {
		t.Error("half a route counts as one")
	}
	ip("route", "delete", "10.96.0.0/23")
	ip("route", "add", "unreachable", "default")
	if Routed(services) {
		t.Error("a route that leads nowhere counts as one")
	}
	ip("route", "delete", "unreachable", "default")
	ip("route", "add", "default", "via", "192.0.2.9", "table", "100")
	ip("rule", "add", "lookup", "100")
	expect("a default route of another table", false, false)
}
