package care

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// dialTimeout bounds the attempt to reach one server before the next is tried.
const dialTimeout = time.Second

// flow is one forwarded connection.
type flow struct{ client, server *net.TCPConn }

func (f *flow) end() {
	_ = f.client.Close()
	_ = f.server.Close()
}

// proxy forwards TCP connections in this process, round robin over the servers with a weight.
type proxy struct {
	listener net.Listener
	log      *slog.Logger
	mu       sync.Mutex
	servers  []Server
	next     int
	flows    map[netip.AddrPort]map[*flow]bool
}

// newProxy listens on the virtual address until ctx ends. The port is shared (SO_REUSEPORT), so that another keeper that has it,
// the pod of an earlier version or one that an operator runs by hand, does not keep this one from serving.
func newProxy(ctx context.Context, vip netip.AddrPort, log *slog.Logger) (*proxy, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, serr)
	}}
	l, err := lc.Listen(ctx, "tcp4", vip.String())
	if err != nil {
		return nil, fmt.Errorf("listen on the virtual address: %w", err)
	}
	p := &proxy{listener: l, log: log, flows: map[netip.AddrPort]map[*flow]bool{}}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go p.accept(ctx)
	return p, nil
}

func (p *proxy) Servers() ([]Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.servers)
	for i := range out {
		out[i].Open = len(p.flows[out[i].Addr])
	}
	return out, nil
}

func (p *proxy) Apply(c Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.servers, func(s Server) bool { return s.Addr == c.Server.Addr })
	switch {
	case c.Op == Delete:
		p.servers = slices.DeleteFunc(p.servers, func(s Server) bool { return s.Addr == c.Server.Addr })
		for f := range p.flows[c.Server.Addr] {
			f.end()
		}
	case i < 0:
		p.servers = append(p.servers, c.Server)
	default:
		p.servers[i].Weight = c.Server.Weight
	}
	return nil
}

func (p *proxy) Clean() error { return p.listener.Close() }

// candidates lists the servers in the order in which this connection tries them.
func (p *proxy) candidates() []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	var live []netip.AddrPort
	for _, s := range p.servers {
		if s.Weight > 0 {
			live = append(live, s.Addr)
		}
	}
	if len(live) == 0 {
		return nil
	}
	p.next = (p.next + 1) % len(live)
	return slices.Concat(live[p.next:], live[:p.next])
}

func (p *proxy) accept(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			// Out of file descriptors, say: let connections end before the next try.
			p.log.Error("accept a connection", "error", err)
			if wait.For(ctx, 100*time.Millisecond) != nil {
				return
			}
			continue
		}
		go p.forward(ctx, conn.(*net.TCPConn))
	}
}

func (p *proxy) forward(ctx context.Context, client *net.TCPConn) {
	f, addr, err := p.dial(ctx, client)
	if err != nil {
		_ = client.Close()
		p.log.Warn("no API server takes the connection", "error", err)
		return
	}
	defer p.forget(f, addr)
	stop := context.AfterFunc(ctx, f.end)
	defer stop()
	done := make(chan struct{}, 2)
	pipe := func(dst, src *net.TCPConn) {
		// An error ends this direction; the peer is told by the half-close.
		_, _ = io.Copy(dst, src)
		_ = dst.CloseWrite()
		done <- struct{}{}
	}
	go pipe(f.server, client)
	go pipe(client, f.server)
	<-done
	<-done
}

// dial connects a client with the first server that takes it. Nothing of the client's has been read yet, so it does not see those
// that refused.
func (p *proxy) dial(ctx context.Context, client *net.TCPConn) (*flow, netip.AddrPort, error) {
	errs := []error{errors.New("no server is left to try")}
	d := net.Dialer{Timeout: dialTimeout}
	for _, a := range p.candidates() {
		c, err := d.DialContext(ctx, "tcp4", a.String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f := &flow{client, c.(*net.TCPConn)}
		if p.remember(f, a) {
			return f, a, nil
		}
		_ = c.Close()
		errs = append(errs, fmt.Errorf("%s is no longer one of the servers", a))
	}
	return nil, netip.AddrPort{}, errors.Join(errs...)
}

// remember notes an open connection, unless its server went while it was being opened.
func (p *proxy) remember(f *flow, a netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.servers, func(s Server) bool { return s.Addr == a }) {
		return false
	}
	if p.flows[a] == nil {
		p.flows[a] = map[*flow]bool{}
	}
	p.flows[a][f] = true
	return true
}

func (p *proxy) forget(f *flow, a netip.AddrPort) {
	f.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flows[a], f)
	if len(p.flows[a]) == 0 {
		delete(p.flows, a)
	}
}
