package care

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestVirtualAddressThatDoesNotAnswerIsToldWithItsRemedy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = Check(ctx, address)
	if err == nil || !strings.Contains(err.Error(), "the virtual address "+address.String()+" does not answer") ||
		!strings.Contains(err.Error(), "can this host reach port 6443 of the masters?") {
		t.Errorf("told %v", err)
	}
}
