package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Resolver is what a host has in /etc/resolv.conf.
type Resolver int

const (
	// RefusingDNS answers every query at once with "nobody listens here". The default.
	RefusingDNS Resolver = iota
	// SilentDNS takes queries and never answers: what a site has that once had a nameserver.
	SilentDNS
	// NoDNS leaves the file empty.
	NoDNS
)

// Bind shows a directory or file of this machine inside a host.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// HostConfig describes one host. The zero value is a plain machine.
type HostConfig struct {
	Name           string // host name; empty: host1, host2, …
	Resolver       Resolver
	NoDefaultRoute bool
	DiskBytes      int64 // size of the filesystem at /var/lib; 0: as much as this machine has
	Binds          []Bind
}

// Config describes a bed.
type Config struct {
	Count int          // plain hosts, in addition to Hosts
	Hosts []HostConfig // at most 100 hosts in all
	Log   io.Writer    // what Start does, and each host's boot; nil: nowhere
}

// Bed is a closed network with running hosts.
type Bed struct {
	Hosts    []*Host
	KeyFile  string // private key that logs in on every host as root and as ops (0600)
	Password string // root's and ops' password on every host
	// KnownHosts holds the host key of each host, for tests of strict checking.
	KnownHosts string
	// Dir is a directory of this bed on this machine, gone after Close.
	Dir string

	id, ns    string
	tree      string
	log       io.Writer
	lock      *os.File
	closing   sync.Once
	closeErr  error
	closed    chan struct{}
	publicKey string
	hash      string
}

// bootLimit bounds one host's way from power-on to a running system: forty
// times what it takes here.
const bootLimit = 2 * time.Minute

// Start boots a bed and returns when sshd answers and the boot is complete on
// every host. ctx bounds starting only; the caller must Close the bed. A
// failed Start leaves nothing behind.
func Start(ctx context.Context, cfg Config) (_ *Bed, err error) {
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	if missing := Missing(); len(missing) > 0 {
		return nil, &MissingError{What: missing}
	}
	hosts, err := hostConfigs(cfg)
	if err != nil {
		return nil, err
	}
	if err := Sweep(ctx, cfg.Log); err != nil {
		return nil, fmt.Errorf("sweep up after earlier runs: %w", err)
	}
	tree, err := Prepare(ctx, cfg.Log)
	if err != nil {
		return nil, err
	}
	b, err := claim()
	if err != nil {
		return nil, err
	}
	b.tree, b.log = tree, cfg.Log
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	b.closeOnSignal()
	if err := b.makeCredentials(); err != nil {
		return nil, fmt.Errorf("make credentials: %w", err)
	}
	if err := makeNetwork(ctx, b.ns); err != nil {
		return nil, fmt.Errorf("make the network: %w", err)
	}
	for i, hc := range hosts {
		h, err := newHost(b, i, hc)
		if err != nil {
			return nil, fmt.Errorf("make host %s: %w", hc.Name, err)
		}
		b.Hosts = append(b.Hosts, h)
	}
	if err := b.writeKnownHosts(); err != nil {
		return nil, err
	}
	if err := b.writeOperatorFiles(); err != nil {
		return nil, err
	}
	if err := b.describe(); err != nil {
		return nil, err
	}
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range b.Hosts {
		g.Go(func() error { return h.PowerOn(gctx) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.log, "testbed: %s: %d hosts up in %.1fs\n", b.id, len(b.Hosts), time.Since(start).Seconds())
	return b, nil
}

func hostConfigs(cfg Config) ([]HostConfig, error) {
	hosts := append([]HostConfig(nil), cfg.Hosts...)
	hosts = append(hosts, make([]HostConfig, max(cfg.Count, 0))...)
	if len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, fmt.Errorf("a bed has 1 to %d hosts, not %d", maxHosts, len(hosts))
	}
	for i := range hosts {
		if hosts[i].Name == "" {
			hosts[i].Name = fmt.Sprintf("host%d", i+1)
		}
	}
	return hosts, nil
}

// ID names the bed on this machine: its namespaces, cgroups and directory.
func (b *Bed) ID() string { return b.id }

// Addresses lists the hosts' addresses in order.
func (b *Bed) Addresses() []string {
	var a []string
	for _, h := range b.Hosts {
		a = append(a, h.Addr)
	}
	return a
}

// Host finds a host by name, address or 1-based number; nil when there is none.
func (b *Bed) Host(name string) *Host {
	for i, h := range b.Hosts {
		if name == h.Name || name == h.Addr || name == fmt.Sprint(i+1) {
			return h
		}
	}
	return nil
}

// Close ends every process of the bed and removes everything it made. It may
// be called more than once, and takes at most a minute.
func (b *Bed) Close() error {
	b.closing.Do(func() {
		close(b.closed)
		// The caller's context may be what ended; cleaning up must not.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		b.closeErr = remove(ctx, b.id, b.lock)
		for _, h := range b.Hosts {
			h.reap()
		}
		fmt.Fprintf(b.log, "testbed: %s: closed in %.1fs\n", b.id, time.Since(start).Seconds())
	})
	return b.closeErr
}

func (b *Bed) writeKnownHosts() error {
	var lines []byte
	for _, h := range b.Hosts {
		lines = fmt.Appendf(lines, "%s %s\n", h.Addr, h.HostKey)
	}
	b.KnownHosts = filepath.Join(b.Dir, "known_hosts")
	return os.WriteFile(b.KnownHosts, lines, 0o644)
}
