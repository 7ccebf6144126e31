package steps

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// noisy is what the start-up files of a forgotten login print.
const noisy = `echo '{"result": {}}'; echo same; echo x86_64; head -c 200000 /dev/zero | tr '\0' x; printf 'no newline'; printf 'no newline' >&2`

func TestArchitectureIsHeardThroughNoise(t *testing.T) {
	r, _ := twoArchitectures(t, runtime.GOARCH)
	s := hosttest.StartServer(t, hosttest.ServerConfig{StartUp: noisy})
	r.Payload.Arch = ""
	r.Dial = func(ctx context.Context, _ *fleet.Target) (host.Host, error) {
		return host.DialSSH(ctx, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
	}
	if err := r.SettleArch(t.Context()); err != nil || r.Payload.Arch != runtime.GOARCH {
		t.Errorf("architecture %q, %v", r.Payload.Arch, err)
	}
}

func TestLoginThatRunsNothingIsAProblemOfItsHost(t *testing.T) {
	for name, startUp := range map[string]string{"ends": "exit 0", "prints and ends": "echo Welcome; exit 1", "is replaced": "exec cat", "never begins": "exit 127"} {
		t.Run(name, func(t *testing.T) {
			s := hosttest.StartServer(t, hosttest.ServerConfig{Listen: "127.0.0.2:0", Password: "right", StartUp: startUp})
			r, _ := twoArchitectures(t, "amd64")
			r.Payload.Arch = ""
			r.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
				return host.DialSSH(ctx, host.SSHConfig{Name: target.IP.String(), Address: "127.0.0.2", Port: s.Port, Password: "right", HostKey: host.Off})
			}
			if err := r.SettleArch(t.Context()); err != nil {
				t.Errorf("not left to the check of all hosts: %v", err)
			}
			problems := preflight.From(r.Each(t.Context(), r.Targets, r.Connect), "connect")
			if len(problems) != 1 {
				t.Fatalf("problems: %+v", problems)
			}
			p := problems[0]
			if p.Host != "127.0.0.2" || !strings.HasPrefix(p.Message, host.ErrShell.Error()+": ") || p.Remedy == preflight.MendIt || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
			if strings.Contains(p.Message, "right") || strings.Contains(p.Message, "sudo") || strings.Contains(p.Message, "\n") {
				t.Errorf("message %q", p.Message)
			}
		})
	}
}

func TestOperatorsOwnSSHFilesAreHeldToAsSSHDoes(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen on this machine")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	keys := filepath.Join(home, ".ssh")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	keygen := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "ssh-keygen", append([]string{"-q"}, args...)...)
		cmd.Dir = keys
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	for _, name := range []string{"id_ed25519", "other", "authority"} {
		keygen("-t", "ed25519", "-N", "", "-f", name)
	}
	keygen("-s", "authority", "-I", "me", "-n", "root", "id_ed25519.pub", "other.pub")
	s := hosttest.StartSSHD(t, "127.0.0.2", "TrustedUserCAKeys "+filepath.Join(keys, "authority.pub"), "AuthorizedKeysFile none", "PasswordAuthentication no")
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), hostAt("127.0.0.2", s.Port, true))
	r.HostKey, r.KnownHosts = host.AcceptNew, filepath.Join(home, "own")
	dial := func() error {
		h, err := r.Dial(t.Context(), r.Targets[0])
		if err == nil {
			h.Close()
		}
		return err
	}
	pin := func(file string, key ssh.PublicKey) {
		line := knownhosts.Line([]string{"[127.0.0.2]:" + strconv.Itoa(s.Port)}, key)
		if err := os.WriteFile(filepath.Join(keys, file), []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"known_hosts", "known_hosts2"} {
		pin(file, hosttest.NewKey(t).PublicKey())
		if err := dial(); !errors.Is(err, host.ErrHostKey) || !strings.Contains(err.Error(), file) {
			t.Errorf("pinned differently in %s: %v", file, err)
		}
		if err := os.Remove(filepath.Join(keys, file)); err != nil {
			t.Fatal(err)
		}
	}
	pin("known_hosts", s.HostKey)
	if err := dial(); err != nil {
		t.Errorf("with the certificate beside ~/.ssh/id_ed25519: %v", err)
	}
	if err := os.Remove(filepath.Join(keys, "id_ed25519-cert.pub")); err != nil {
		t.Fatal(err)
	}
	if err := dial(); !errors.Is(err, host.ErrAuth) {
		t.Errorf("without a certificate: %v", err)
	}
	config := filepath.Join(keys, "config")
	text := "Match host 127.0.0.2,127.0.0.3 user root\n IdentityFile ~/.ssh/missing\n IdentityFile ~/.ssh/other\n CertificateFile %d/.ssh/cert\n"
	err := errors.Join(os.Rename(filepath.Join(keys, "other-cert.pub"), filepath.Join(keys, "cert")), os.WriteFile(config, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if r.UserConfig, err = host.ReadUserConfig(config); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err != nil {
		t.Errorf("with CertificateFile of a Match with lists: %v", err)
	}
}
