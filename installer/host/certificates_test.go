package host_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// keygen runs ssh-keygen.
func keygen(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen on this machine")
	}
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
}

// newKeyPair makes a key pair with ssh-keygen and gives its private file.
func newKeyPair(t *testing.T, kind, passphrase string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	keygen(t, "-t", kind, "-N", passphrase, "-f", file)
	return file
}

func publicKey(t *testing.T, file string) ssh.PublicKey {
	t.Helper()
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certifiedHost is a real sshd whose host key of a kind an authority has signed, with these options of ssh-keygen.
func certifiedHost(t *testing.T, kind, authority string, options ...string) *hosttest.SSHD {
	t.Helper()
	key := newKeyPair(t, kind, "")
	keygen(t, append([]string{"-s", authority, "-h", "-I", "host"}, append(options, key+".pub")...)...)
	return hosttest.StartSSHD(t, "127.0.0.2", "HostKey "+key, "HostCertificate "+key+"-cert.pub")
}

func TestHostCertificatesAreBelievedAsSSHDoes(t *testing.T) {
	t.Parallel()
	authority, foreign := newKeyPair(t, "ed25519", ""), newKeyPair(t, "ed25519", "")
	line := func(file string, marker, pattern string) string {
		return marker + " " + pattern + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(publicKey(t, file)))) + "\n"
	}
	const theirs = "[127.0.0.*]:*,127.0.0.*"
	for name, c := range map[string]struct {
		kind    string
		signer  string
		options []string
		known   string // of the operator
		strict  error
		accept  error
		says    string
	}{
		"ed25519":               {"ed25519", authority, nil, line(authority, "@cert-authority", theirs), nil, nil, ""},
		"rsa":                   {"rsa", authority, []string{"-n", "127.0.0.2"}, line(authority, "@cert-authority", "*"), nil, nil, ""},
		"ecdsa":                 {"ecdsa", authority, []string{"-n", "a,127.0.0.2"}, line(authority, "@cert-authority", theirs), nil, nil, ""},
		"one of two":            {"ed25519", authority, nil, line(foreign, "@cert-authority", "*") + line(authority, "@cert-authority", "*"), nil, nil, ""},
		"no authority is known": {"ed25519", authority, nil, "", host.ErrHostKey, nil, "is not in"},
		"not about this host":   {"ed25519", authority, nil, line(authority, "@cert-authority", "10.*"), host.ErrHostKey, nil, "is not in"},
		"another authority":     {"ed25519", foreign, nil, line(authority, "@cert-authority", theirs), host.ErrHostKey, host.ErrHostKey, "of another authority"},
		"expired":               {"ed25519", authority, []string{"-V", "20200101:20200201"}, line(authority, "@cert-authority", "*"), host.ErrHostKey, host.ErrHostKey, "expired"},
		"another principal":     {"ed25519", authority, []string{"-n", "other.example"}, line(authority, "@cert-authority", "*"), host.ErrHostKey, host.ErrHostKey, "principal"},
		"revoked authority":     {"ed25519", authority, nil, line(authority, "@cert-authority", "*") + line(authority, "@revoked", "*"), host.ErrHostKey, host.ErrHostKey, "revoked"},
		"a bad line is no harm": {"ed25519", authority, nil, "what is this\n" + line(authority, "@cert-authority", "*"), nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := certifiedHost(t, c.kind, c.signer, c.options...)
			for policy, want := range map[host.HostKeyPolicy]error{host.Strict: c.strict, host.AcceptNew: c.accept, host.Off: nil} {
				dir := t.TempDir()
				operators := filepath.Join(dir, "operators")
				if err := os.WriteFile(operators, []byte(c.known), 0o600); err != nil {
					t.Fatal(err)
				}
				err := tryDial(t, host.SSHConfig{
					Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: policy,
					KnownHosts: filepath.Join(dir, "own"), AlsoKnown: []string{operators},
				})
				if !errors.Is(err, want) {
					t.Errorf("%v: %v, want %v", policy, err, want)
				}
				if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "ssh-keygen -f")) {
					t.Errorf("%v: message %q", policy, err)
				}
			}
		})
	}
}

func TestHostWithoutTheCertificateItShouldHaveIsRefused(t *testing.T) {
	s := hosttest.StartSSHD(t, "127.0.0.2")
	authority := newKeyPair(t, "ed25519", "")
	line := func(pattern string) string {
		return "@cert-authority " + pattern + " " + string(ssh.MarshalAuthorizedKey(publicKey(t, authority)))
	}
	exact := knownhosts.Normalize(net.JoinHostPort(s.Address, port(s.Port)))
	pinned := knownhosts.Line([]string{exact}, s.HostKey) + "\n"
	for name, c := range map[string]struct {
		known string
		want  error
	}{
		"named":             {line(exact), host.ErrHostKey},
		"named, and pinned": {line(exact) + pinned, nil},
		"any host at all":   {line("*"), nil}, // as ssh, for which the host is new then
	} {
		dir := t.TempDir()
		operators := filepath.Join(dir, "operators")
		if err := os.WriteFile(operators, []byte(c.known), 0o600); err != nil {
			t.Fatal(err)
		}
		err := tryDial(t, host.SSHConfig{
			Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: host.AcceptNew,
			KnownHosts: filepath.Join(dir, "own"), AlsoKnown: []string{operators},
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyThatTheOperatorPinsDifferentlyGetsNoPassword(t *testing.T) {
	s := hosttest.StartServer(t, hosttest.ServerConfig{Password: "secret"})
	address := net.JoinHostPort("127.0.0.1", port(s.Port))
	exact := knownhosts.Normalize(address)
	for name, c := range map[string]struct {
		line string
		want error
	}{
		"plain":              {knownhosts.Line([]string{exact}, hosttest.NewKey(t).PublicKey()), host.ErrHostKey},
		"hashed":             {knownhosts.Line([]string{knownhosts.HashHostname(exact)}, hosttest.NewKey(t).PublicKey()), host.ErrHostKey},
		"pattern":            {knownhosts.Line([]string{"[127.0.0.?]:*"}, hosttest.NewKey(t).PublicKey()), host.ErrHostKey},
		"revoked":            {"@revoked " + knownhosts.Line([]string{"*"}, s.Keys[0].PublicKey()), host.ErrHostKey},
		"the same":           {knownhosts.Line([]string{exact}, s.Keys[0].PublicKey()), nil},
		"another of two":     {knownhosts.Line([]string{exact}, hosttest.NewKey(t).PublicKey()) + "\n" + knownhosts.Line([]string{exact}, s.Keys[0].PublicKey()), nil},
		"of another port":    {knownhosts.Line([]string{"127.0.0.1"}, hosttest.NewKey(t).PublicKey()), nil},
		"negated":            {knownhosts.Line([]string{"*", "!" + exact}, hosttest.NewKey(t).PublicKey()), nil},
		"not understandable": {"127.0.0.1 ssh-rsa AAAA", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			own, operators := filepath.Join(dir, "own"), filepath.Join(dir, "operators")
			if err := os.WriteFile(operators, []byte(c.line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			asked := s.Passwords()
			for range 2 {
				err := tryDial(t, host.SSHConfig{
					Address: "127.0.0.1", Port: s.Port, Password: "secret", HostKey: host.AcceptNew, KnownHosts: own, AlsoKnown: []string{"/no/such/file", operators},
				})
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if c.want != nil && s.Passwords() != asked {
					t.Error("the password was sent")
				}
			}
			if text, err := os.ReadFile(own); (err == nil) != (c.want == nil) {
				t.Errorf("what was kept: %q, %v", text, err)
			}
		})
	}
}
