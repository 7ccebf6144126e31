package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is a direction of a network card: bytes take their time, one after another.
type link struct {
	perSecond float64 // 0 for no limit
	mu        sync.Mutex
	free      time.Time // when it has sent what it was given
}

// over lets n bytes pass all of some links, which do so at the same time.
func over(n int, links ...*link) {
	var wait time.Duration
	for _, l := range links {
		if l == nil || l.perSecond == 0 {
			continue
		}
		l.mu.Lock()
		if now := time.Now(); l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(n) / l.perSecond * float64(time.Second)))
		wait = max(wait, time.Until(l.free))
		l.mu.Unlock()
	}
	if wait > 2*time.Millisecond { // what a sleep can do
		time.Sleep(wait)
	}
}

type overLinks struct {
	io.Writer
	links []*link
}

func (w overLinks) Write(p []byte) (int, error) {
	over(len(p), w.links...)
	return w.Writer.Write(p)
}

// linkedConn is a connection of a host; what it reads has come over its card.
type linkedConn struct {
	net.Conn
	up, down *link
}

func (c *linkedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	over(n, c.down)
	return n, err
}

// linkPiece is how many bytes a link carries at a time, so that what is written at once still arrives bit by bit.
const linkPiece = 16 << 10

func (c *linkedConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var k int
		over(min(len(p), linkPiece), c.up)
		k, err = c.Conn.Write(p[:min(len(p), linkPiece)])
		n, p = n+k, p[k:]
	}
	return n, err
}

// simHost is a host with a store and a network card of its own. Its relay listens on loopback, or in memory.
type simHost struct {
	store    *Store
	up, down *link
	relayed  atomic.Int64 // bytes its relay sent
	dead     atomic.Bool  // its relay takes connections and says nothing
	refuse   bool         // it cannot open a relay
}

// simNet is a network in memory. In a bubble of testing/synctest nothing else
// takes time but its links, so that a test measures them and not the machine.
type simNet struct {
	mu    sync.Mutex
	ports map[string]*memoryListener
}

func newSimNet() *simNet { return &simNet{ports: map[string]*memoryListener{}} }

func (n *simNet) listen() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &memoryListener{net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1 + len(n.ports)}, make(chan net.Conn), make(chan struct{}), sync.Once{}}
	n.ports[l.addr.String()] = l
	return l, nil
}

func (n *simNet) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.ports[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memoryListener struct {
	addr   net.TCPAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Addr() net.Addr { return &l.addr }

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

type simListener struct {
	net.Listener
	h *simHost
}

type countedConn struct {
	*linkedConn
	h *simHost
}

func (c countedConn) Write(p []byte) (int, error) {
	for c.h.dead.Load() {
		if _, err := c.linkedConn.Read(make([]byte, 1<<10)); err != nil {
			return 0, err
		}
	}
	n, err := c.linkedConn.Write(p)
	c.h.relayed.Add(int64(n))
	return n, err
}

func (l simListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{&linkedConn{Conn: c, up: l.h.up, down: l.h.down}, l.h}, nil
}

// newSimHost makes one on the loopback network, where links take real time.
func newSimHost(t testing.TB, perSecond float64) *simHost {
	return newHostOn(t, perSecond,
		func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		(&net.Dialer{Timeout: time.Second}).DialContext)
}

// host makes one on a network in memory.
func (n *simNet) host(t testing.TB, perSecond float64) *simHost {
	return newHostOn(t, perSecond, n.listen, n.dial)
}

func newHostOn(t testing.TB, perSecond float64, listen func() (net.Listener, error), dial func(context.Context, string, string) (net.Conn, error)) *simHost {
	h := &simHost{store: OpenStore(memoryDir(t)), up: &link{perSecond: perSecond}, down: &link{perSecond: perSecond}}
	h.store.Listen = func() (net.Listener, error) {
		if h.refuse {
			return nil, errors.New("no relay here")
		}
		l, err := listen()
		return simListener{l, h}, err
	}
	h.store.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &linkedConn{Conn: c, up: h.up, down: h.down}, nil
	}
	return h
}
