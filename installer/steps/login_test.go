package steps

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// noisy is what start-up files print that nobody has read again.
const noisy = `echo '{"result": {}}'; echo same; echo x86_64; head -c 200000 /dev/zero | tr '\0' x; printf 'no newline'; printf 'no newline' >&2`

func TestArchitectureIsHeardThroughNoise(t *testing.T) {
	r, _ := twoArchitectures(t, runtime.GOARCH)
	s := hosttest.StartServer(t, hosttest.ServerConfig{StartUp: noisy})
	r.hostArch = ""
	r.dial = func(ctx context.Context, _ *Target) (host.Host, error) {
		return host.DialSSH(ctx, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
	}
	if err := r.settleArch(t.Context()); err != nil || r.hostArch != runtime.GOARCH {
		t.Errorf("architecture %q, %v", r.hostArch, err)
	}
}

func TestLoginThatRunsNothingIsAProblemOfItsHost(t *testing.T) {
	for name, startUp := range map[string]string{"ends": "exit 0", "prints and ends": "echo Welcome; exit 1", "is replaced": "exec cat", "never begins": "exit 127"} {
		t.Run(name, func(t *testing.T) {
			s := hosttest.StartServer(t, hosttest.ServerConfig{Listen: "127.0.0.2:0", Password: "right", StartUp: startUp})
			r, _ := twoArchitectures(t, "amd64")
			r.hostArch = ""
			r.dial = func(ctx context.Context, target *Target) (host.Host, error) {
				return host.DialSSH(ctx, host.SSHConfig{Name: target.IP.String(), Address: "127.0.0.2", Port: s.Port, Password: "right", HostKey: host.Off})
			}
			if err := r.settleArch(t.Context()); err != nil {
				t.Errorf("not left to the check of all hosts: %v", err)
			}
			problems := problemsFrom(r.each(t.Context(), r.Targets, r.connect), "connect")
			if len(problems) != 1 {
				t.Fatalf("problems: %+v", problems)
			}
			p := problems[0]
			if p.Host != "127.0.0.2" || !strings.HasPrefix(p.Message, host.ErrShell.Error()+": ") || p.Remedy == mendIt || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
			if strings.Contains(p.Message, "right") || strings.Contains(p.Message, "sudo") || strings.Contains(p.Message, "\n") {
				t.Errorf("message %q", p.Message)
			}
		})
	}
}
