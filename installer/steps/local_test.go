package steps

import (
	"net/netip"
	"os/exec"
	"testing"

	"github.com/sealbuild/sealbuild/installer/fleet"
)

func TestThisMachinesAddressIsThatOfItsDefaultRoute(t *testing.T) {
	if !apart(t) {
		return
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
	}
	// A bridge for virtual machines comes first in the kernel's order.
	ip("link", "add", "virbr0", "type", "veth", "peer", "name", "p0")
	ip("address", "add", "192.168.122.1/24", "dev", "virbr0")
	ip("link", "set", "virbr0", "up")
	ip("link", "add", "eth0", "type", "veth", "peer", "name", "p1")
	ip("address", "add", "10.1.0.9/24", "dev", "eth0")
	ip("link", "set", "eth0", "up")
	want := netip.MustParseAddr("10.1.0.9")
	if got, ok := fleet.OwnAddress(); !ok || got != want {
		t.Errorf("without a default route: %s, want %s", got, want)
	}
	ip("link", "add", "eth1", "type", "veth", "peer", "name", "p2")
	ip("address", "add", "10.2.0.9/24", "dev", "eth1")
	ip("link", "set", "eth1", "up")
	ip("route", "add", "default", "via", "10.2.0.1")
	if got, ok := fleet.OwnAddress(); !ok || got != netip.MustParseAddr("10.2.0.9") {
		t.Errorf("with one: %s, want 10.2.0.9", got)
	}
}
