package host_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func TestHostKeysAreHeldToThePolicy(t *testing.T) {
	s := hosttest.StartSSHD(t, "127.0.0.2")
	known := filepath.Join(t.TempDir(), "dir", "known_hosts")
	dialWith := func(p host.HostKeyPolicy) error {
		return tryDial(t, host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, KnownHosts: known, HostKey: p})
	}
	if err := dialWith(host.Strict); !errors.Is(err, host.ErrHostKey) {
		t.Errorf("strict took an unknown host: %v", err)
	}
	for _, p := range []host.HostKeyPolicy{host.AcceptNew, host.AcceptNew, host.Strict} {
		if err := dialWith(p); err != nil {
			t.Errorf("%v: %v", p, err)
		}
	}
	text, err := os.ReadFile(known)
	if err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("known hosts %q, %v", text, err)
	}
	// Now the host seems to be another.
	address := knownhosts.Normalize(net.JoinHostPort(s.Address, port(s.Port)))
	changed := knownhosts.Line([]string{address}, hosttest.NewKey(t).PublicKey())
	if err := os.WriteFile(known, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []host.HostKeyPolicy{host.AcceptNew, host.Strict} {
		err := dialWith(p)
		if !errors.Is(err, host.ErrHostKey) || !strings.Contains(err.Error(), "ssh-keygen -f") {
			t.Errorf("%v took a changed key: %v", p, err)
		}
	}
	if err := dialWith(host.Off); err != nil {
		t.Errorf("off: %v", err)
	}
	if text, _ := os.ReadFile(known); string(text) != changed {
		t.Errorf("the file was changed: %q", text)
	}
}

func port(n int) string { return strconv.Itoa(n) }

func TestManyNewHostsAreAddedAtOnce(t *testing.T) {
	known := filepath.Join(t.TempDir(), "known_hosts")
	// A file whose last line has no newline must not swallow the next.
	if err := os.WriteFile(known, []byte("# mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		s := hosttest.StartServer(t, hosttest.ServerConfig{})
		for range 2 {
			all.Go(func() {
				if err := tryDial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, KnownHosts: known, HostKey: host.AcceptNew}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	text, _ := os.ReadFile(known)
	if lines := strings.Count(string(text), "\n"); lines != 21 || !strings.HasPrefix(string(text), "# mine\n") {
		t.Errorf("%d lines: %s", lines, text)
	}
}

func TestKnownKeyTypeIsAskedFor(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := hosttest.StartServer(t, hosttest.ServerConfig{HostKeys: []ssh.Signer{hosttest.NewKey(t), second}})
	for _, key := range s.Keys {
		known := filepath.Join(t.TempDir(), "known_hosts")
		line := knownhosts.Line([]string{net.JoinHostPort("127.0.0.1", port(s.Port))}, key.PublicKey())
		if err := os.WriteFile(known, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tryDial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, KnownHosts: known}); err != nil {
			t.Errorf("%s: %v", key.PublicKey().Type(), err)
		}
	}
}

func TestStrictTakesOverWhatTheOperatorKnows(t *testing.T) {
	s := hosttest.StartSSHD(t, "127.0.0.2")
	dir := t.TempDir()
	own, theirs := filepath.Join(dir, "state", "known_hosts"), filepath.Join(dir, "known_hosts")
	config := host.SSHConfig{
		Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, KnownHosts: own, AlsoKnown: []string{filepath.Join(dir, "missing"), theirs},
	}
	if err := tryDial(t, config); !errors.Is(err, host.ErrHostKey) || !strings.Contains(err.Error(), theirs) {
		t.Errorf("known to nobody: %v", err)
	}
	write := func(key ssh.PublicKey) {
		line := knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(net.JoinHostPort(s.Address, port(s.Port))))}, key)
		if err := os.WriteFile(theirs, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hosttest.NewKey(t).PublicKey())
	if err := tryDial(t, config); !errors.Is(err, host.ErrHostKey) || !strings.Contains(err.Error(), "ssh-keygen -f "+theirs) {
		t.Errorf("known to the operator by another key: %v", err)
	}
	if _, err := os.Stat(own); err == nil {
		t.Error("a refused key was kept")
	}
	write(s.HostKey)
	for range 2 {
		if err := tryDial(t, config); err != nil {
			t.Errorf("known to the operator: %v", err)
		}
	}
	if err := os.Remove(theirs); err != nil {
		t.Fatal(err)
	}
	if err := tryDial(t, config); err != nil {
		t.Errorf("the key was not taken over: %v", err)
	}
	if text, err := os.ReadFile(own); err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%s, %v", text, err)
	}
}
