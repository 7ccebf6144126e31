package host_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func TestEveryConnectErrorNamesOneCauseAndOneRemedy(t *testing.T) {
	key, public := keyFile(t, "")
	locked, _ := keyFile(t, "open sesame")
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	listen := func(serve func(net.Conn)) int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
		return l.Addr().(*net.TCPAddr).Port
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	anybody := hosttest.StartServer(t, hosttest.ServerConfig{})
	exact := knownhosts.Normalize(net.JoinHostPort("127.0.0.1", port(anybody.Port)))
	other := knownhosts.Line([]string{exact}, hosttest.NewKey(t).PublicKey()) + "\n"
	start := func(c hosttest.ServerConfig) int { return hosttest.StartServer(t, c).Port }
	_, refused := login(t, "1000", "echo a password is required >&2; exit 1")
	_, silent := login(t, "1000", "exit 1")
	_, broken := login(t, "1000", "kill -9 $$")
	asRoot := func(h host.Host) error {
		return h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Root: true})
	}
	dialed := func(c host.SSHConfig) error {
		c.Address = "127.0.0.1"
		if c.HostKey == 0 && c.KnownHosts == "" {
			c.HostKey = host.Off
		}
		return tryDial(t, c)
	}
	for name, c := range map[string]struct {
		err    error
		kind   error
		remedy string
	}{
		"nobody listens":      {dialed(host.SSHConfig{Port: 1}), host.ErrUnreachable, "start sshd on the host"},
		"no ssh":              {dialed(host.SSHConfig{Port: listen(func(c net.Conn) { c.Close() })}), host.ErrUnreachable, "log of the host's sshd"},
		"silent":              {dialed(host.SSHConfig{Port: listen(func(net.Conn) { <-over }), Timeout: 200 * time.Millisecond}), host.ErrUnreachable, "see in the log of its sshd"},
		"nothing to offer":    {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{Password: "p"})}), host.ErrAuth, "give a password or a private key"},
		"encrypted":           {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{Password: "p"}), KeyFiles: []string{locked}}), host.ErrAuth, "give the passphrase of " + locked},
		"wrong password":      {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{Password: "p"}), Password: "q"}), host.ErrAuth, "check the password, and that the host's sshd lets root in with one"},
		"wrong, not root":     {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{Interactive: "p"}), Password: "q", User: "ops"}), host.ErrAuth, "check the password"},
		"wrong key":           {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{PublicKey: hosttest.NewKey(t).PublicKey()}), KeyFiles: []string{key}}), host.ErrAuth, "authorized_keys of root"},
		"takes no password":   {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{PublicKey: public}), Password: "p"}), host.ErrAuth, "give a private key that the host knows"},
		"takes no keys":       {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{Password: "p"}), KeyFiles: []string{key}}), host.ErrAuth, "give the password"},
		"both wrong":          {dialed(host.SSHConfig{Port: start(hosttest.ServerConfig{PublicKey: hosttest.NewKey(t).PublicKey(), Password: "p"}), KeyFiles: []string{key}, Password: "q"}), host.ErrAuth, "check the password"},
		"unknown key":         {dialed(host.SSHConfig{Port: anybody.Port, KnownHosts: write("none", "")}), host.ErrHostKey, "add this line"},
		"changed key":         {dialed(host.SSHConfig{Port: anybody.Port, KnownHosts: write("other", other)}), host.ErrHostKey, "ssh-keygen -f"},
		"revoked key":         {dialed(host.SSHConfig{Port: anybody.Port, KnownHosts: write("revoked", "@revoked * "+string(ssh.MarshalAuthorizedKey(anybody.Keys[0].PublicKey())))}), host.ErrHostKey, "new key"},
		"known hosts no file": {dialed(host.SSHConfig{Port: anybody.Port, KnownHosts: dir, HostKey: host.AcceptNew}), host.ErrHostKey, "make " + dir},
		"sudo refuses":        {asRoot(refused), host.ErrSudo, "give the password that sudo asks for"},
		"sudo says nothing":   {asRoot(silent), host.ErrSudo, "give the password that sudo asks for"},
		"sudo is broken":      {asRoot(broken), host.ErrSudo, "give the password that sudo asks for"},
	} {
		var e *host.Error
		if !errors.Is(c.err, c.kind) || !errors.As(c.err, &e) {
			t.Errorf("%s: %v", name, c.err)
			continue
		}
		t.Logf("%s: %v", name, c.err)
		if !strings.Contains(e.Remedy, c.remedy) || strings.Contains(e.Remedy, "?") {
			t.Errorf("%s: the remedy is %q", name, e.Remedy)
		}
		cause := e.Err.Error()
		for _, scrap := range []string{"\n", "elif", "$(", "handshake failed", "()", ": :", "exit status 1:"} {
			if strings.Contains(c.err.Error(), scrap) {
				t.Errorf("%s: %q in %v", name, scrap, c.err)
			}
		}
		if cause == "" || strings.HasSuffix(strings.TrimSpace(cause), ":") {
			t.Errorf("%s: the cause is %q", name, cause)
		}
	}
}

func TestErrorOfACommandHoldsNoScriptAndNoEmptyEnd(t *testing.T) {
	script := "if true; then\n  exit 1\nfi"
	for name, c := range map[string]struct {
		err  host.ExitError
		want string
	}{
		"titled":   {host.ExitError{Host: "h", Title: "receive the file", Argv: []string{"/bin/sh", "-c", script}, Code: 1, Stderr: "no space\n"}, "h: receive the file: exit status 1: no space"},
		"script":   {host.ExitError{Host: "h", Argv: []string{"/bin/sh", "-c", script, "name", "/a b"}, Code: 1}, "h: /bin/sh -c … name '/a b': exit status 1 without a word"},
		"one line": {host.ExitError{Host: "h", Argv: []string{"bash", "-c", "exit 3"}, Code: 3}, "h: bash -c …: exit status 3 without a word"},
		"long":     {host.ExitError{Host: "h", Argv: []string{"echo", strings.Repeat("x", 500)}, Code: 2, Stderr: "e"}, "h: echo …: exit status 2: e"},
		"signal":   {host.ExitError{Host: "h", Argv: []string{"sleep", "1"}, Code: -1, Signal: "KILL"}, "h: sleep 1: ended by signal KILL"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	everyHost(t, func(t *testing.T, h host.Host) {
		err := h.Put(t.Context(), "/proc/no/such/file", 0o600, strings.NewReader("x"))
		if err == nil || strings.Contains(err.Error(), "mktemp") && strings.Contains(err.Error(), "sha256sum") || strings.Contains(err.Error(), "\n\t") {
			t.Errorf("%v", err)
		}
	})
}
