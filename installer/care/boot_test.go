package care

import (
	"context"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestTheAddressServesAsSoonAsThereIsANetwork is a boot: care runs before the host has an address, and nobody starts it again.
func TestTheAddressServesAsSoonAsThereIsANetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	inNamespace(t, func() {
		helper := httptest.NewTLSServer(nil)
		helper.Close()
		api := netip.MustParseAddrPort("192.0.2.1:6443")
		vip := netip.MustParseAddrPort("10.103.97.2:6443")
		dir, err := os.MkdirTemp("", "care")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		list := dir + "/servers"
		if err := os.WriteFile(list, List{Servers: []netip.AddrPort{api}}.Format(), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, Config{VIP: vip, List: list, Mode: ModeProxy}) }()
		for range 100 { // it listens, and has nothing to send connections to
			if _, err = Ask(t.Context(), list); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		lan := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}
		if err := netlink.LinkAdd(lan); err != nil {
			t.Skipf("no links here: %v", err)
		}
		address, err := netlink.ParseAddr("192.0.2.1/24")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(lan, address); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(lan); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp4", api.String())
		if err != nil {
			t.Fatal(err)
		}
		server := startAPIOn(t, l, helper.TLS.Certificates[0])
		within, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if _, err := Confirm(within, list, vip, List{Servers: []netip.AddrPort{server.addr}}); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
