// Package agenttest gives agents to tests: of this machine, whose stub is the test's own binary, and of machines inside the test.
package agenttest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// Main is the TestMain of a package whose test binary is the stub: `<binary> node <verb>` is the stub's side of a call.
func Main(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "node" {
		if err := verbs.Main(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Stub is the path of the test's own binary.
func Stub(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// asLogin is a host whose commands run as the user of the test.
type asLogin struct{ host.Host }

func (h asLogin) Run(ctx context.Context, c host.Cmd) error {
	c.Root = false
	return h.Host.Run(ctx, c)
}

// Local is an agent of this machine.
func Local(t testing.TB) *agent.Agent {
	return agent.NewAgent(asLogin{host.Local("here")}, Stub(t))
}

// Everywhere runs a test locally and over ssh.
func Everywhere(t *testing.T, test func(t *testing.T, a *agent.Agent)) {
	t.Run("local", func(t *testing.T) { test(t, Local(t)) })
	t.Run("ssh", func(t *testing.T) {
		s := hosttest.StartServer(t, hosttest.ServerConfig{})
		h, err := host.DialSSH(t.Context(), host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		test(t, agent.NewAgent(asLogin{h}, Stub(t)))
	})
}

// OverSSHD is an agent of this machine as root, over a real sshd.
func OverSSHD(t testing.TB) *agent.Agent {
	s := hosttest.StartSSHD(t, "127.0.0.1")
	h, err := host.DialSSH(t.Context(), host.SSHConfig{
		Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: host.Off, Timeout: hosttest.NoClock, Keepalive: hosttest.NoClock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return agent.NewAgent(h, Stub(t))
}
