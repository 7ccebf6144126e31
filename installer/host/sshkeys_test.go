package host_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func TestCertificatesOfUsersAreShownToARealSSHD(t *testing.T) {
	t.Parallel()
	authority := newKeyPair(t, "ed25519", "")
	s := hosttest.StartSSHD(t, "127.0.0.2", "TrustedUserCAKeys "+authority+".pub", "AuthorizedKeysFile none", "PasswordAuthentication no")
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		key := newKeyPair(t, kind, "")
		c := host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{key}, HostKey: host.Off}
		if err := tryDial(t, c); !errors.Is(err, host.ErrAuth) {
			t.Errorf("%s without a certificate: %v", kind, err)
		}
		keygen(t, "-s", authority, "-I", "me", "-n", "root", key+".pub")
		if err := tryDial(t, c); err != nil {
			t.Errorf("%s with a certificate beside it: %v", kind, err)
		}
		elsewhere := filepath.Join(t.TempDir(), "cert.pub")
		if err := os.Rename(key+"-cert.pub", elsewhere); err != nil {
			t.Fatal(err)
		}
		c.CertFiles = []string{"/no/such/file", authority + ".pub", elsewhere}
		if err := tryDial(t, c); err != nil {
			t.Errorf("%s with a certificate that is named: %v", kind, err)
		}
		c.KeyFiles, c.AgentSocket = nil, serveAgent(t, agent.NewKeyring(), key)
		if err := tryDial(t, c); err != nil {
			t.Errorf("%s with a certificate for a key of the agent: %v", kind, err)
		}
	}
}

// serveAgent serves an ssh agent that holds the keys of files until the test ends.
func serveAgent(t *testing.T, a agent.Agent, files ...string) string {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	return listenUnix(t, func(conn net.Conn) { agent.ServeAgent(a, conn) })
}

func listenUnix(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
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
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return socket
}

func TestKeyThatCannotBeUsedSpoilsNothing(t *testing.T) {
	dir := t.TempDir()
	bad := map[string]string{
		"empty": "", "putty": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "text": "hello\n",
		"cut": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAA\n", "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nx\n-----END PGP PRIVATE KEY BLOCK-----\n",
	}
	var files []string
	for name, text := range bad {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	pipe, folder, loop, endless := filepath.Join(dir, "pipe"), filepath.Join(dir, "folder"), filepath.Join(dir, "loop"), filepath.Join(dir, "endless")
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), os.Mkdir(folder, 0o700), os.Symlink(loop, loop), os.Symlink("/dev/zero", endless)); err != nil {
		t.Fatal(err)
	}
	locked, _ := keyFile(t, "open sesame")
	files = append(files, pipe, folder, loop, endless, locked, "/no/such/key", "/dev/null")
	good, public := keyFile(t, "")
	for name, c := range map[string]struct {
		server hosttest.ServerConfig
		client host.SSHConfig
	}{
		"other keys":        {hosttest.ServerConfig{PublicKey: public}, host.SSHConfig{KeyFiles: append(slices.Clone(files), good), KeyPassphrase: "wrong"}},
		"the password":      {hosttest.ServerConfig{Password: "p"}, host.SSHConfig{KeyFiles: files, Password: "p"}},
		"keys of the agent": {hosttest.ServerConfig{PublicKey: public}, host.SSHConfig{KeyFiles: files, AgentSocket: serveAgent(t, agent.NewKeyring(), good)}},
	} {
		s := hosttest.StartServer(t, c.server)
		c.client.Address, c.client.Port, c.client.HostKey = "127.0.0.1", s.Port, host.Off
		if err := tryDial(t, c.client); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Where nothing helps, each is told with its reason.
	s := hosttest.StartServer(t, hosttest.ServerConfig{PublicKey: public})
	err := tryDial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off, KeyFiles: files})
	for _, want := range append(files, "no such file", "is not a regular file", "not a private key that can be read", "no passphrase was given", "give the passphrase of "+locked) {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s, in %v", want, err)
		}
	}
}

// stuckAgent lists its keys and hangs, or fails, when it is to sign with the first of them.
type stuckAgent struct {
	agent.Agent
	first ssh.PublicKey
	hang  <-chan struct{}
}

func (s *stuckAgent) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	if string(key.Marshal()) == string(s.first.Marshal()) {
		if s.hang != nil {
			<-s.hang
		}
		return nil, errors.New("refused")
	}
	return s.Agent.Sign(key, data)
}

func TestAgentThatHangsOrRefusesSpoilsNothing(t *testing.T) {
	first, firstPublic := keyFile(t, "")
	second, secondPublic := keyFile(t, "")
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	silent := listenUnix(t, func(net.Conn) { <-over })
	hanging := func(hang <-chan struct{}) string {
		a := &stuckAgent{Agent: agent.NewKeyring(), first: firstPublic, hang: hang}
		return serveAgent(t, a, first, second)
	}
	both := hosttest.ServerConfig{PublicKey: firstPublic, AlsoKey: secondPublic}
	withPassword := both
	withPassword.Password = "p"
	for name, c := range map[string]struct {
		server hosttest.ServerConfig
		client host.SSHConfig
		want   error
		says   string
	}{
		"silent, a key":              {both, host.SSHConfig{AgentSocket: silent, KeyFiles: []string{second}}, nil, ""},
		"silent, a password":         {withPassword, host.SSHConfig{AgentSocket: silent, Password: "p"}, nil, ""},
		"silent, nothing else":       {both, host.SSHConfig{AgentSocket: silent}, host.ErrAuth, "the ssh agent failed (it does not answer)"},
		"hangs signing, a password":  {withPassword, host.SSHConfig{AgentSocket: hanging(over), Password: "p"}, nil, ""},
		"hangs signing, no more":     {both, host.SSHConfig{AgentSocket: hanging(over)}, host.ErrAuth, "the ssh agent failed (it does not answer)"},
		"refuses, another key":       {both, host.SSHConfig{AgentSocket: hanging(nil)}, nil, ""},
		"refuses, no more":           {hosttest.ServerConfig{PublicKey: firstPublic}, host.SSHConfig{AgentSocket: hanging(nil)}, host.ErrAuth, "the ssh agent failed (agent: "},
		"gone":                       {both, host.SSHConfig{AgentSocket: "/no/such/socket"}, host.ErrAuth, "the ssh agent failed (connect: no such file or directory)"},
		"hangs up, and a wrong word": {withPassword, host.SSHConfig{AgentSocket: listenUnix(t, func(net.Conn) {}), Password: "q"}, host.ErrAuth, "the host refused the password of root; passed over: the ssh agent ("},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := hosttest.StartServer(t, c.server)
			// An agent gets a third of it. One that were waited for would leave no time for anything else, and another cause.
			c.client.Address, c.client.Port, c.client.HostKey, c.client.Timeout = "127.0.0.1", s.Port, host.Off, 15*time.Second
			err := tryDial(t, c.client)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v: %s", err, c.want, c.says)
			}
		})
	}
}
