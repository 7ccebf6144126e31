package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// ConnectTimeout bounds reaching one host. Only the program of tests over ssh changes it, before it begins: their machine may have
// much else to do.
var ConnectTimeout = 15 * time.Second

// Reach opens the connections to all hosts, to at most jobs of them at once.
func (f *Fleet) Reach(ctx context.Context, jobs int) []preflight.Problem {
	return f.ReachThese(ctx, f.All(), jobs)
}

// ReachThese is [Fleet.Reach] for some hosts.
func (f *Fleet) ReachThese(ctx context.Context, targets []*Target, jobs int) []preflight.Problem {
	return preflight.From(f.each(ctx, targets, jobs, func(ctx context.Context, t *Target) error {
		err := f.Connect(ctx, t)
		t.Connected = err == nil
		return err
	}), "connect")
}

// Connect opens the connection to a host and brings the stub there. How long the stub takes depends on the line, so only
// the run's timeout bounds it.
func (f *Fleet) Connect(ctx context.Context, t *Target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("the host took longer than %s (--timeout)", f.Timeout))
	defer cancel()
	link, err := f.Dial(ctx, t)
	if err != nil {
		return err
	}
	t.Link = link
	if err := f.settleHost(ctx, t); err != nil {
		return err
	}
	return f.bringStub(ctx, t)
}

// dialHost opens the connection to a host: without ssh if it is this machine. Behind a jump host, an address of this
// machine may be another machine's, so there it always uses ssh.
func (f *Fleet) dialHost(ctx context.Context, t *Target) (host.Host, error) {
	said, err := f.UserConfig.For(t.IP.String(), t.SSH.User)
	if err != nil {
		return nil, err
	}
	jump := cmp.Or(t.SSH.Jump, said.Jump)
	if jump == "none" {
		jump = ""
	}
	if jump == "" && isLocal(t.IP) && !t.Tunnel {
		return host.LocalSudo(t.IP.String(), t.SSH.Password), nil
	}
	c := host.SSHConfig{
		User: t.SSH.User, Password: t.SSH.Password, KeyPassphrase: t.SSH.KeyPassphrase, AgentSocket: f.AgentSocket,
		KnownHosts: f.KnownHosts, AlsoKnown: knownHosts(), HostKey: f.HostKey, Timeout: ConnectTimeout,
	}
	c.KeyFiles = keyFiles(t.SSH)
	if t.SSH.KeyFile == "" {
		c.KeyFiles = append(said.KeyFiles, c.KeyFiles...)
	}
	c.CertFiles = said.CertFiles
	if c.Via, err = f.jumps.through(f.UserConfig, jump, c); err != nil {
		return nil, err
	}
	c.Name, c.Address, c.Port = t.IP.String(), cmp.Or(said.HostName, t.IP.String()), t.SSH.Port
	return host.DialSSH(ctx, c)
}

// jumps are the connections to jump hosts. The hosts behind one share its connection.
type jumps struct {
	mu    sync.Mutex
	known map[string]*host.Jump
	all   []*host.Jump
}

// through gives the last of the jump hosts that text names; nil if it names none.
func (j *jumps) through(config *host.UserConfig, text string, like host.SSHConfig) (*host.Jump, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := text + " " + like.User
	if via, ok := j.known[key]; ok {
		return via, nil
	}
	via, all, err := config.Jumps(text, like)
	if err != nil {
		return nil, err
	}
	if j.known == nil {
		j.known = map[string]*host.Jump{}
	}
	j.known[key] = via
	j.all = append(j.all, all...)
	return via, nil
}

func (j *jumps) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for i := len(j.all) - 1; i >= 0; i-- {
		errs = append(errs, j.all[i].Close())
	}
	return errors.Join(errs...)
}

// isLocal tells whether an address is one of this machine's.
func isLocal(ip netip.Addr) bool { return slices.Contains(localAddresses(), ip) }
