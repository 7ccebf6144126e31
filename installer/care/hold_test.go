package care

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// TestAHostThatBootsKeepsPacketsToPodsUntilTheirNetworkIsUp works in a network of its own, in a process of its own.
func TestAHostThatBootsKeepsPacketsToPodsUntilTheirNetworkIsUp(t *testing.T) {
	ip := apart(t)
	if ip == nil {
		return
	}
	// The way out of the site, and its two families.
	ip("route", "add", "default", "via", "192.0.2.9")
	ip("-6", "address", "add", "2001:db8::1/64", "dev", "lan", "nodad")
	ip("-6", "route", "add", "default", "via", "2001:db8::9")
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, text := range texts {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	h := Held{Pods: prefixes("100.64.0.0/10", "fd64::/48"), Services: prefixes("10.96.0.0/22", "fd96::/112")}
	leaves := func(address string) bool {
		t.Helper()
		family := "-4"
		if strings.Contains(address, ":") {
			family = "-6"
		}
		out, err := exec.CommandContext(t.Context(), "ip", family, "route", "get", address).CombinedOutput()
		return err == nil && strings.Contains(string(out), "dev lan")
	}
	expect := func(when string, want bool, addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			if got := leaves(a); got != want {
				t.Errorf("%s: packets to %s leave the host: %v", when, a, got)
			}
		}
	}
	cluster := []string{"100.64.3.4", "fd64::4", "10.96.0.1", "fd96::1"}
	expect("before", true, cluster...)

	for range 2 { // the second command of the unit finds what the first has made
		if err := BeginHold(h); err != nil {
			t.Fatal(err)
		}
	}
	expect("while it boots", false, cluster...)
	expect("while it boots", true, "198.51.100.1", "192.0.2.9")
	if _, err := net.Dial("udp", "10.96.0.1:443"); err != nil {
		t.Errorf("a program of the host cannot ask a Service, which kube-proxy would translate: %v", err)
	}
	if err := EndHold(); err != nil {
		t.Fatal(err)
	}
	expect("after it was ended by hand", true, cluster...)

	const patience, settled = time.Minute, 400 * time.Millisecond
	over := make(chan error, 1)
	go func() { over <- holdFor(t.Context(), h, patience, settled, slog.New(slog.DiscardHandler)) }()
	if err := wait.Until(t.Context(), 5*time.Millisecond, func(context.Context) error {
		if leaves("100.64.3.4") {
			return context.DeadlineExceeded
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// What the network of pods makes.
	ip("route", "add", "100.64.1.0/24", "via", "192.0.2.8")
	expect("to the pods of a host that is known", true, "100.64.1.7")
	expect("to the pods of another", false, "100.64.3.4")
	ip("route", "add", "100.64.3.0/24", "via", "192.0.2.7")
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience / 2):
		t.Fatal("it lasts although there are routes to pods")
	}
	expect("at its end", true, cluster...)
	if left := ip("route", "show", "proto", "84") + ip("-6", "route", "show", "proto", "84"); left != "" {
		t.Errorf("left behind:\n%s", left)
	}

	// A network of pods without routes, and an end on request.
	ip("route", "del", "100.64.1.0/24")
	ip("route", "del", "100.64.3.0/24")
	if err := holdFor(t.Context(), h, settled, settled, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	expect("when no route to pods appears", true, cluster...)
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := holdFor(ctx, h, patience, settled, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	expect("when it is told to end", true, cluster...)
}
