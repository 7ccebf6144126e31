package storesync

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// relayPiece is how many bytes a relay reads, encrypts and hands to the network at a time. TLS makes records of 16 KiB; with a
// system call for each of them, hosts that pass much on spend more time on changing tasks than on anything else.
const relayPiece = maxData

// gatheredConn writes what comes between hold and release at once.
type gatheredConn struct {
	net.Conn
	mu   sync.Mutex
	held bool
	buf  []byte
}

func (c *gatheredConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *gatheredConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

func (c *gatheredConn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// gatheringListener accepts such connections.
type gatheringListener struct{ net.Listener }

func (l gatheringListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gatheredConn{Conn: c}, nil
}

type connKey struct{}

// withConn lets handlers reach the connection below TLS.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// writeThrough writes a piece of an answer and sees it to the network.
func writeThrough(ctx context.Context, w http.ResponseWriter, p []byte) (err error) {
	if c, ok := ctx.Value(connKey{}).(*gatheredConn); ok {
		c.hold()
		defer func() {
			if rerr := c.release(); err == nil {
				err = rerr
			}
		}()
	}
	if _, err := w.Write(p); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// readAheadConn takes what has come, as far as it has room, with one system call.
type readAheadConn struct {
	net.Conn
	r *bufio.Reader
}

func readAhead(c net.Conn) net.Conn { return &readAheadConn{c, bufio.NewReaderSize(c, relayPiece)} }

func (c *readAheadConn) Read(p []byte) (int, error) { return c.r.Read(p) }
