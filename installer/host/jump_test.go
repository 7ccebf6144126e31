package host_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func newJump(t *testing.T, c host.SSHConfig) *host.Jump {
	t.Helper()
	j := host.NewJump(c)
	t.Cleanup(func() { j.Close() })
	return j
}

func TestHostsAreReachedThroughRealJumpHosts(t *testing.T) {
	first, second, last := hosttest.StartSSHD(t, "127.0.0.2"), hosttest.StartSSHD(t, "127.0.0.3"), hosttest.StartSSHD(t, "127.0.0.4", "AllowTcpForwarding no")
	known := filepath.Join(t.TempDir(), "known_hosts")
	config := func(s *hosttest.SSHD, via *host.Jump) host.SSHConfig {
		return host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, KnownHosts: known, HostKey: host.AcceptNew, Via: via}
	}
	chain := newJump(t, config(second, newJump(t, config(first, nil))))
	h := dial(t, config(last, chain))
	if got := strings.Fields(output(t, h, "sh", "-c", "echo $SSH_CONNECTION")); len(got) != 4 || got[2] != last.Address {
		t.Errorf("connection %v", got)
	}
	if err := h.Put(t.Context(), filepath.Join(t.TempDir(), "f"), 0o600, strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(known)
	if err != nil || strings.Count(string(text), "\n") != 3 {
		t.Errorf("the keys of all three are kept: %s, %v", text, err)
	}

	err = tryDial(t, config(first, newJump(t, config(last, nil))))
	if !errors.Is(err, host.ErrUnreachable) || !strings.Contains(err.Error(), "through 127.0.0.4") || !strings.Contains(err.Error(), "AllowTcpForwarding") {
		t.Errorf("a jump host that forwards nothing: %v", err)
	}
	wrong := config(first, nil)
	wrong.KeyFiles = nil
	if err := tryDial(t, config(last, newJump(t, wrong))); !errors.Is(err, host.ErrAuth) || !strings.Contains(err.Error(), "jump host 127.0.0.2: ") {
		t.Errorf("a jump host that lets nobody in: %v", err)
	}
	changed := knownhosts.Line([]string{net.JoinHostPort(last.Address, port(last.Port))}, hosttest.NewKey(t).PublicKey())
	if err := os.WriteFile(known, []byte(changed+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryDial(t, config(last, chain)); !errors.Is(err, host.ErrHostKey) {
		t.Errorf("a changed key behind a jump host: %v", err)
	}
}

func TestOneConnectionToTheJumpHostCarriesAll(t *testing.T) {
	s, target := hosttest.StartServer(t, hosttest.ServerConfig{}), hosttest.StartServer(t, hosttest.ServerConfig{})
	jump := newJump(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
	if s.Connections() != 0 {
		t.Error("it was dialled before it was wanted")
	}
	hosts := make([]host.Host, 20)
	var all sync.WaitGroup
	for i := range hosts {
		all.Go(func() {
			h, err := host.DialSSH(t.Context(), host.SSHConfig{Address: "127.0.0.1", Port: target.Port, HostKey: host.Off, Via: jump})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { h.Close() })
			hosts[i] = h
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	if s.Connections() != 1 || target.Connections() != 20 {
		t.Errorf("%d connections to the jump host, %d behind it", s.Connections(), target.Connections())
	}
	// It breaks, and with it every connection through it: the next command makes them again.
	s.Cut()
	for _, h := range hosts {
		if got := output(t, h, "echo", "back"); got != "back\n" {
			t.Errorf("%q", got)
		}
	}
	if s.Connections() != 2 {
		t.Errorf("%d connections to the jump host", s.Connections())
	}
}

func TestJumpHostsAreReadAsSSHReadsThem(t *testing.T) {
	for text, want := range map[string][]host.Hop{
		"": nil, "none": nil,
		"bastion":                  {{Host: "bastion"}},
		"ops@10.0.0.1:2222":        {{"ops", "10.0.0.1", 2222}},
		"a, ssh://me@b.example:22": {{Host: "a"}, {"me", "b.example", 22}},
		"[fd00::1]:22":             {{Host: "fd00::1", Port: 22}},
		"fd00::1":                  {{Host: "fd00::1"}},
		"user@domain@host":         {{User: "user@domain", Host: "host"}},
	} {
		got, err := host.ParseJump(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{"a,", "@a", "a:0", "a:x", "a:99999", "-oProxyCommand=x", "a b", "u@", ",", "a/b", "a:b:c"} {
		if got, err := host.ParseJump(text); err == nil {
			t.Errorf("%q was taken: %+v", text, got)
		}
	}
}

func FuzzParseJump(f *testing.F) {
	for _, s := range []string{"", "a", "u@h:22,[::1]:2", "a@b@c", "::", ":1", "[", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hops, err := host.ParseJump(text)
		for _, h := range hops {
			if err == nil && (h.Host == "" || h.Port < 0 || h.Port > 65535 || strings.HasPrefix(h.Host, "-")) {
				t.Errorf("%q: %+v", text, h)
			}
		}
	})
}
