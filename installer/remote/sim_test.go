package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// simHost is a host inside this process.
type simHost struct {
	name    string
	machine *agenttest.Machine
	run     func(ctx context.Context, c host.Cmd) error // programs that are no verbs
	sent    atomic.Int64                                // bytes that this machine sent it
	dieAt   atomic.Int64                                // the host is gone after so many of them; 0 means never
	begun   chan struct{}                               // closed when the host has been sent a MiB, if it is not nil
	tell    sync.Once
}

func (h *simHost) Name() string { return h.name }
func (h *simHost) Close() error { return nil }

func (h *simHost) Put(context.Context, string, fs.FileMode, io.Reader) error {
	return errors.ErrUnsupported
}

func (h *simHost) Run(ctx context.Context, c host.Cmd) error {
	if len(c.Argv) != 3 || c.Argv[1] != "node" {
		return h.run(ctx, c)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := h.machine.Serve(ctx, c.Argv[2], &counted{h, c.Stdin, cancel}, c.Stdout)
	if gone := context.Cause(ctx); gone != nil {
		return gone
	}
	return err
}

// counted counts what a host is sent, and takes the host away in the middle of it.
type counted struct {
	h    *simHost
	r    io.Reader
	gone context.CancelCauseFunc
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	all := c.h.sent.Add(int64(n))
	if all > 1<<20 && c.h.begun != nil {
		c.h.tell.Do(func() { close(c.h.begun) })
	}
	if at := c.h.dieAt.Load(); at > 0 && all > at {
		c.gone(&host.Error{Host: c.h.name, Kind: host.ErrUnreachable, Err: errors.New("connection reset by peer")})
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// site is some hosts. Those that meet reach each other for what they are sent.
type site struct {
	*fleet.Fleet
	hosts []*simHost
}

func newSite(t testing.TB, hosts int, meet bool) *site {
	t.Helper()
	s := &site{}
	var wanted []installer.Host
	for i := range hosts {
		root, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, "srv"), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, "proc/self/mounts"), "/dev/sda1 / ext4 rw 0 0\n", 0o444)
		ip := netip.AddrFrom4([4]byte{127, 0, byte(1 + i/250), byte(1 + i%250)})
		m := &agenttest.Machine{Root: root}
		if meet {
			m.Sync = &storesync.ReceiveOptions{}
		}
		s.hosts = append(s.hosts, &simHost{name: ip.String(), machine: m})
		wanted = append(wanted, installer.Host{IP: ip, Master: i == 0})
	}
	s.Fleet = fleet.New(fleet.Options{Jobs: 100, Report: installer.Silent()}, wanted, nil)
	s.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return s.of(t), nil }
	return s
}

func (s *site) of(t *fleet.Target) *simHost {
	for _, h := range s.hosts {
		if h.name == t.IP.String() {
			return h
		}
	}
	return nil
}

func (s *site) bring(_ context.Context, t *fleet.Target) error {
	h := s.of(t)
	t.Link, t.Agent = h, agent.NewAgent(h, "stub")
	return nil
}

// sent is how much this machine has sent to all hosts since it was asked last.
func (s *site) sent() (all int64) {
	for _, h := range s.hosts {
		all += h.sent.Swap(0)
	}
	return all
}

// path is a file of a host as this process sees it.
func (h *simHost) path(name string) string { return h.machine.Root + name }
