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

func (c *linkedConn) Write(p []byte) (int, error) {
	over(len(p), c.up)
	return c.Conn.Write(p)
}

// simHost is a host with a store and a network card of its own. Its relay listens on loopback.
type simHost struct {
	store    *Store
	up, down *link
	relayed  atomic.Int64 // bytes its relay sent
	dead     atomic.Bool  // its relay takes connections and says nothing
	refuse   bool         // it cannot open a relay
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

func newSimHost(t testing.TB, perSecond float64) *simHost {
	h := &simHost{store: OpenStore(memoryDir(t)), up: &link{perSecond: perSecond}, down: &link{perSecond: perSecond}}
	h.store.listen = func() (net.Listener, error) {
		if h.refuse {
			return nil, errors.New("no relay here")
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		return simListener{l, h}, err
	}
	h.store.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &linkedConn{Conn: c, up: h.up, down: h.down}, nil
	}
	return h
}
