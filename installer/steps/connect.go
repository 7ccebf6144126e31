package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// connectAll reaches all hosts and reads their facts.
func (r *Run) connectAll(ctx context.Context) []preflight.Problem {
	problems := r.reachHosts(ctx, r.Jobs)
	// Before anything is read that another installer may be changing.
	locked, held := r.lockMasters(ctx)
	if held {
		r.held = true
		return append(problems, locked...)
	}
	unseen := r.lookAtHosts(ctx)
	if len(unseen) > 0 {
		locked = nil // whatever keeps a host from being looked at kept it from being locked
	}
	return slices.Concat(problems, locked, unseen)
}

// reachHosts opens the connections to all hosts, as many at once as said.
func (r *Run) reachHosts(ctx context.Context, jobs int) []preflight.Problem {
	return preflight.From(each(ctx, r.Targets, jobs, func(ctx context.Context, t *Target) error {
		err := r.connect(ctx, t)
		t.connected = err == nil
		return err
	}), "connect")
}

// lookAtHosts reads facts and marks of all hosts that are reached.
func (r *Run) lookAtHosts(ctx context.Context) []preflight.Problem {
	asked := r.networksToAsk() // before hosts tell what the documents depend on
	reached := slices.DeleteFunc(slices.Clone(r.Targets), func(t *Target) bool { return !t.connected })
	return preflight.From(r.each(ctx, reached, func(ctx context.Context, t *Target) error {
		ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the host took longer than %s (--timeout); does its sshd allow several sessions on a connection (MaxSessions)?", r.Timeout))
		defer cancel()
		return r.look(ctx, t, asked)
	}), "connect")
}

// settleState brings together what this machine knows about the cluster and
// what its masters know, and settles the secrets.
func (r *Run) settleState(ctx context.Context) error {
	if err := r.adoptState(ctx); err != nil {
		return err
	}
	return r.loadSecrets(ctx)
}

// connect opens the one connection to a host and brings the stub there. How
// long the stub takes depends on the line, so only the run's timeout bounds it.
func (r *Run) connect(ctx context.Context, t *Target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the host took longer than %s (--timeout)", r.Timeout))
	defer cancel()
	link, err := r.dial(ctx, t)
	if err != nil {
		return err
	}
	t.Link = link
	if err := r.settleHost(ctx, t); err != nil {
		return err
	}
	return r.bringStub(ctx, t)
}

// dialHost opens the connection to a host: none to this machine itself. Behind a jump host an address of this machine's
// is another's.
func (r *Run) dialHost(ctx context.Context, t *Target) (host.Host, error) {
	said, err := r.UserConfig.For(t.IP.String(), t.SSH.User)
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
		User: t.SSH.User, Password: t.SSH.Password, KeyPassphrase: t.SSH.KeyPassphrase, AgentSocket: r.AgentSocket,
		KnownHosts: r.KnownHosts, AlsoKnown: knownHosts(), HostKey: r.HostKey, Timeout: connectTimeout,
	}
	c.KeyFiles = keyFiles(t.SSH)
	if t.SSH.KeyFile == "" {
		c.KeyFiles = append(said.KeyFiles, c.KeyFiles...)
	}
	c.CertFiles = said.CertFiles
	if c.Via, err = r.jumps.through(r.UserConfig, jump, c); err != nil {
		return nil, err
	}
	c.Name, c.Address, c.Port = t.IP.String(), cmp.Or(said.HostName, t.IP.String()), t.SSH.Port
	return host.DialSSH(ctx, c)
}

// jumps are the jump hosts of a run: those that several hosts lie behind are connected to once.
type jumps struct {
	mu    sync.Mutex
	known map[string]*host.Jump
	all   []*host.Jump
}

// through gives the last of the jump hosts that text names; nil for none.
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

// look reads facts and marks.
func (r *Run) look(ctx context.Context, t *Target, networks []string) error {
	if err := r.readMarks(ctx, t); err != nil {
		return err
	}
	measured := ""
	if t.Master && !t.Begun() {
		measured = r.placesOf(t).Etcd // on a disk that nobody uses for this yet
	}
	sent := time.Now()
	life := r.lifeRequest(t)
	f, err := t.Agent.Facts(ctx, agent.FactsRequest{
		Modules: append(preflight.Modules(), "ip_vs", "ip_vs_rr"),
		Tools:   append(preflight.Tools(), "modprobe", "apparmor_parser"),
		Paths:   append(r.placesOf(t).All(), r.placesOf(t).Program()), Networks: networks,
		Sync: measured, Ports: preflight.Ports(t.Master, r.registryPort()),
		Sockets: life.Sockets, Programs: life.Programs, Lock: r.lockPath(),
		Dirs: r.dirsToLookAt(),
	})
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	// Half the round trip is the best guess of when the host read its clock.
	t.skew = time.Unix(0, f.UnixNano).Sub(sent.Add(time.Since(sent) / 2))
	t.Facts = f
	t.looked = true
	return nil
}

func (r *Run) readMarks(ctx context.Context, t *Target) error {
	found, err := t.Journal.Read(ctx, r.allMarks(), etcdFiles()...)
	if err != nil {
		return err
	}
	t.etcdManifest = manifestDataDir(found[etcdManifest])
	t.worked = t.Journal.Has(journal.Init) || t.Journal.Has(journal.Registry) || t.Journal.Has(journal.KubeadmBegun)
	return nil
}

func (r *Run) allMarks() []string {
	marks := journal.Marks()
	for _, i := range r.payload.Images {
		marks = append(marks, guestMark(i))
	}
	return marks
}

// isLocal tells whether an address is one of this machine's.
func isLocal(ip netip.Addr) bool { return slices.Contains(localAddresses(), ip) }
