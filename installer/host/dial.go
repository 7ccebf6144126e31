package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
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
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no login within %v", c.Timeout))
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	login := newLogin(ctx, c)
	defer login.close()
	keys := &hostKeys{policy: c.HostKey, file: c.KnownHosts, also: c.AlsoKnown}
	algorithms, err := keys.algorithms(c.hostPort())
	if err != nil {
		conn.Close()
		return nil, keys.refused(c, err)
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, c.hostPort(), &ssh.ClientConfig{
		User:              c.User,
		Auth:              login.methods,
		AuthCallback:      login.next,
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
	var algorithms *ssh.AlgorithmNegotiationError
	words := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), "ssh: ")
	e := &Error{Host: c.Name, Kind: ErrUnreachable, Err: &refusal{fmt.Sprintf("ssh with port %d: %s", c.Port, words), err}}
	switch {
	case ctx.Err() != nil:
		e.Err = causeOf(ctx, err)
		e.Remedy = "the host took the connection, and then did not let anybody in for so long: see in the log of its sshd what it waits for"
	case keys.err != nil:
		return keys.refused(c, keys.err)
	case errors.As(err, &algorithms):
		e.Remedy = "let the host's sshd offer one of what was asked for"
	case errors.Is(err, io.EOF):
		e.Err = &refusal{fmt.Sprintf("the host hung up during the login (port %d)", c.Port), err}
		fallthrough
	case !keys.accepted, errors.As(err, &network), errors.As(err, &closed):
		e.Remedy = fmt.Sprintf("see in the log of the host's sshd why it hung up, and that it is sshd that listens on port %d", c.Port)
	default:
		return l.refused(c, err)
	}
	return e
}

// refused tells of a host key that was not taken.
func (k *hostKeys) refused(c SSHConfig, err error) error {
	e := &Error{Host: c.Name, Kind: ErrHostKey, Err: err, Remedy: "make " + k.file + " a file that can be read and added to"}
	var judged *hostKeyError
	if errors.As(err, &judged) {
		e.Remedy = judged.remedy
	}
	return e
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
