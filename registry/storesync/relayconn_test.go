package storesync

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// writesConn counts what is written to a connection, and in how many writes.
type writesConn struct {
	net.Conn
	mu            sync.Mutex
	writes, bytes int
}

func (c *writesConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.bytes += len(p)
	return c.Conn.Write(p)
}

// writesListener accepts one connection and counts on it.
type writesListener struct {
	net.Listener
	conn writesConn
}

func (l *writesListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.conn.Conn = c
	return &l.conn, nil
}

func TestRelayHandsAPieceToTheNetworkAtOnce(t *testing.T) {
	const pieces = 40
	piece := bytes.Repeat([]byte("0123456789abcdef"), relayPiece/16)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		for range pieces {
			if err := writeThrough(q.Context(), w, piece); err != nil {
				t.Error(err)
			}
		}
	}))
	counted := &writesListener{Listener: server.Listener}
	server.Listener = gatheringListener{counted}
	server.Config.ConnContext = withConn
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()

	got := bytes.Buffer{}
	client := server.Client()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return readAhead(c), nil
	}
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := got.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), bytes.Repeat(piece, pieces)) {
		t.Errorf("%d bytes came, and not those sent", got.Len())
	}
	counted.conn.mu.Lock()
	defer counted.conn.mu.Unlock()
	// The handshake, the header and the end take a few more.
	if counted.conn.writes > pieces+10 {
		t.Errorf("%d writes for %d pieces of %d bytes", counted.conn.writes, pieces, relayPiece)
	}
}
