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
const dialTimeout = 2 * time.Second

// proxy forwards TCP connections in this process, round robin over the servers with a weight.
type proxy struct {
	listener net.Listener
	log      *slog.Logger
	mu       sync.Mutex
	servers  []Server
	next     int
}

// newProxy listens on the virtual address until ctx ends. The port is shared (SO_REUSEPORT): while a node joins, a first keeper
// serves it until the cluster's own pod does, and neither has to wait for the other.
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
	p := &proxy{listener: l, log: log}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go p.accept(ctx)
	return p, nil
}

func (p *proxy) Servers() ([]Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.servers), nil
}

func (p *proxy) Apply(c Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = slices.DeleteFunc(p.servers, func(s Server) bool { return s.Addr == c.Server.Addr })
	if c.Op != Delete {
		p.servers = append(p.servers, c.Server)
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
	defer client.Close()
	server, err := p.dial(ctx)
	if err != nil {
		p.log.Warn("no API server takes the connection", "error", err)
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer stop()
	done := make(chan struct{}, 2)
	pipe := func(dst, src *net.TCPConn) {
		// An error ends this direction; the peer is told by the half-close.
		_, _ = io.Copy(dst, src)
		_ = dst.CloseWrite()
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
	<-done
}

func (p *proxy) dial(ctx context.Context) (*net.TCPConn, error) {
	candidates := p.candidates()
	if len(candidates) == 0 {
		return nil, errors.New("no server is healthy")
	}
	var errs []error
	d := net.Dialer{Timeout: dialTimeout}
	for _, a := range candidates {
		c, err := d.DialContext(ctx, "tcp4", a.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
