package host_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func tryDial(t *testing.T, c host.SSHConfig) error {
	t.Helper()
	h, err := host.DialSSH(t.Context(), c)
	if err == nil {
		h.Close()
	}
	return err
}

func keyFile(t *testing.T, passphrase string) (string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return name, key
}

func TestEveryWayToLogInWorks(t *testing.T) {
	plain, public := keyFile(t, "")
	locked, lockedPublic := keyFile(t, "open sesame")
	other, _ := keyFile(t, "")
	many := []string{other, other, other, other}
	for name, c := range map[string]struct {
		server hosttest.ServerConfig
		client host.SSHConfig
		want   error
	}{
		"password":                 {hosttest.ServerConfig{Password: "p"}, host.SSHConfig{Password: "p"}, nil},
		"wrong password":           {hosttest.ServerConfig{Password: "p"}, host.SSHConfig{Password: "q"}, host.ErrAuth},
		"no password":              {hosttest.ServerConfig{Password: "p"}, host.SSHConfig{}, host.ErrAuth},
		"questions":                {hosttest.ServerConfig{Interactive: "p"}, host.SSHConfig{Password: "p"}, nil},
		"wrong answer":             {hosttest.ServerConfig{Interactive: "p"}, host.SSHConfig{Password: "q"}, host.ErrAuth},
		"key":                      {hosttest.ServerConfig{PublicKey: public}, host.SSHConfig{KeyFiles: []string{"/no/such/key", plain}}, nil},
		"wrong key":                {hosttest.ServerConfig{PublicKey: public}, host.SSHConfig{KeyFiles: []string{other}}, host.ErrAuth},
		"wrong key, then password": {hosttest.ServerConfig{PublicKey: public, Password: "p"}, host.SSHConfig{KeyFiles: []string{other}, Password: "p"}, nil},
		"many keys and password":   {hosttest.ServerConfig{PublicKey: public, Password: "p"}, host.SSHConfig{KeyFiles: many, Password: "p"}, nil},
		"key with passphrase":      {hosttest.ServerConfig{PublicKey: lockedPublic}, host.SSHConfig{KeyFiles: []string{locked}, KeyPassphrase: "open sesame"}, nil},
		"key without passphrase":   {hosttest.ServerConfig{PublicKey: lockedPublic}, host.SSHConfig{KeyFiles: []string{locked}}, host.ErrAuth},
		"key, wrong passphrase":    {hosttest.ServerConfig{PublicKey: lockedPublic}, host.SSHConfig{KeyFiles: []string{locked}, KeyPassphrase: "x"}, host.ErrAuth},
	} {
		t.Run(name, func(t *testing.T) {
			s := hosttest.StartServer(t, c.server)
			c.client.Address, c.client.Port, c.client.HostKey, c.client.Name = "127.0.0.1", s.Port, host.Off, "node-7"
			err := tryDial(t, c.client)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "node-7: ") || strings.Contains(err.Error(), "sesame")) {
				t.Errorf("message %q", err)
			}
		})
	}
}

func TestSSHDRefusesWrongLogins(t *testing.T) {
	s := hosttest.StartSSHD(t, "127.0.0.1")
	other, _ := keyFile(t, "")
	var many []string
	for range 8 {
		one, _ := keyFile(t, "")
		many = append(many, one)
	}
	for name, c := range map[string]host.SSHConfig{
		"password": {Password: "not the password"},
		"key":      {KeyFiles: []string{other}},
		"user":     {User: "nobody-of-that-name", KeyFiles: []string{s.KeyFile}},
		"too many": {KeyFiles: append(many, s.KeyFile)},
	} {
		c.Address, c.Port, c.HostKey = s.Address, s.Port, host.Off
		if err := tryDial(t, c); !errors.Is(err, host.ErrAuth) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostThatIsNotThereIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().(*net.TCPAddr).Port
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := gone.Addr().(*net.TCPAddr).Port
	gone.Close()
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:"+port(silent))
	for name, c := range map[string]host.SSHConfig{
		"nobody listens":        {Port: refusing},
		"one that never speaks": {Port: silent, Timeout: 300 * time.Millisecond},
	} {
		c.Address, c.HostKey, c.Password = "127.0.0.1", host.Off, "p"
		err := tryDial(t, c)
		if !errors.Is(err, host.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		if c.Timeout != 0 && !strings.Contains(err.Error(), c.Timeout.String()) {
			t.Errorf("%s: it was given up for another reason than its %v: %v", name, c.Timeout, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := host.DialSSH(ctx, host.SSHConfig{Address: "127.0.0.1", Port: silent, HostKey: host.Off}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSessionsShareOneConnectionAndAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ most, allowed int }{"usual": {8, 0}, "host allows fewer": {2, 2}} {
		t.Run(name, func(t *testing.T) {
			s := hosttest.StartServer(t, hosttest.ServerConfig{MaxSessions: c.allowed})
			h := dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
			var all sync.WaitGroup
			for range 30 {
				all.Go(func() {
					if err := h.Run(t.Context(), host.Cmd{Argv: []string{"sleep", "0.05"}}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if s.MostSessions() > c.most || s.Connections() != 1 {
				t.Errorf("%d sessions at once on %d connections", s.MostSessions(), s.Connections())
			}
		})
	}
}

func TestFiftyCommandsOnARealSSHD(t *testing.T) {
	t.Parallel()
	s := hosttest.StartSSHD(t, "127.0.0.1", "MaxSessions 3")
	h := dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: host.Off})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			var out bytes.Buffer
			if err := h.Run(t.Context(), host.Cmd{Argv: []string{"echo", "hello"}, Stdout: &out}); err != nil || out.String() != "hello\n" {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
	all.Wait()
}

func TestCutConnectionIsToldAndMadeAnew(t *testing.T) {
	s := hosttest.StartServer(t, hosttest.ServerConfig{})
	h := dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
	err := h.Run(t.Context(), host.Cmd{Argv: []string{"sh", "-c", "echo up; sleep 60"}, Stdout: writeFunc(func(p []byte) (int, error) {
		s.Cut()
		return len(p), nil
	})})
	if !errors.Is(err, host.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if got := output(t, h, "echo", "back"); got != "back\n" || s.Connections() != 2 {
		t.Errorf("%q on %d connections", got, s.Connections())
	}
	h.Close()
	if err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}}); !errors.Is(err, host.ErrUnreachable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestConnectionThatNoLongerAnswersIsGivenUp(t *testing.T) {
	s := hosttest.StartServer(t, hosttest.ServerConfig{Silent: true})
	h := dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off, Keepalive: 50 * time.Millisecond})
	// A command that nobody ends would end well.
	if err := h.Run(t.Context(), host.Cmd{Argv: []string{"sleep", "60"}}); !errors.Is(err, host.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
