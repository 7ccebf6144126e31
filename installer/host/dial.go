package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// tcpKeepalive keeps idle connections open in gateways that forget them.
const tcpKeepalive = 30 * time.Second

// connection is one TCP connection with a login on it.
type connection struct {
	client *ssh.Client
	lost   chan struct{} // closed when the connection has ended
}

// connect dials, checks the host's key and logs in.
func connect(ctx context.Context, c SSHConfig) (*connection, error) {
	login, err := newLogin(c)
	if err != nil {
		return nil, &Error{Host: c.Name, Kind: ErrAuth, Err: err}
	}
	defer login.close()

	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no login within %v", c.Timeout))
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	keys := &hostKeys{policy: c.HostKey, file: c.KnownHosts, also: c.AlsoKnown}
	algorithms, err := keys.algorithms(c.hostPort(), conn.RemoteAddr())
	if err != nil {
		conn.Close()
		return nil, &Error{Host: c.Name, Kind: ErrHostKey, Err: err}
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, c.hostPort(), &ssh.ClientConfig{
		User:              c.User,
		Auth:              login.methods,
		HostKeyCallback:   keys.check,
		HostKeyAlgorithms: algorithms,
	})
	if err != nil {
		conn.Close()
		return nil, refused(ctx, c, keys, login, err)
	}
	if !stop() { // the context ended between the login and here, and the connection is gone
		sc.Close()
		return nil, &Error{Host: c.Name, Kind: ErrUnreachable, Err: context.Cause(ctx)}
	}
	k := &connection{client: ssh.NewClient(sc, channels, requests), lost: make(chan struct{})}
	go func() {
		k.client.Wait()
		close(k.lost)
	}()
	go k.keepalive(c.Keepalive)
	return k, nil
}

// refused tells what a failed handshake was about, by how far it had come: the library's errors have no types for it.
func refused(ctx context.Context, c SSHConfig, keys *hostKeys, l *login, err error) error {
	var network net.Error
	var closed *net.OpError
	switch {
	case ctx.Err() != nil:
		return &Error{Host: c.Name, Kind: ErrUnreachable, Err: causeOf(ctx, err)}
	case keys.err != nil:
		return &Error{
			Host: c.Name, Kind: ErrHostKey, Err: keys.err,
			Remedy: "host key policy is " + c.HostKey.String(),
		}
	case !keys.accepted, errors.As(err, &network), errors.As(err, &closed):
		return &Error{Host: c.Name, Kind: ErrUnreachable, Err: fmt.Errorf("ssh with port %d: %w", c.Port, err)}
	}
	return &Error{Host: c.Name, Kind: ErrAuth, Err: err, Remedy: l.remedy(c)}
}

// causeOf prefers the reason why a context ended to the broken connection it left.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// keepalive closes a connection that no longer answers, so that commands waiting on it fail.
func (k *connection) keepalive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-k.lost:
			return
		case <-tick.C:
		}
		answered := make(chan struct{})
		go func() {
			// A refusal is an answer too.
			if _, _, err := k.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
				close(answered)
			}
		}()
		select {
		case <-answered:
		case <-k.lost:
			return
		case <-time.After(2 * every):
			k.client.Close()
			return
		}
	}
}
