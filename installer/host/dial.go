package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
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

// refused makes the error of a handshake that failed. It judges by how far the handshake came: the library has no types for that.
func refused(ctx context.Context, c SSHConfig, keys *hostKeys, l *login, err error) error {
	_, network := errors.AsType[net.Error](err)
	_, closed := errors.AsType[*net.OpError](err)
	_, algorithms := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	words := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), "ssh: ")
	e := &Error{Host: c.Name, Kind: ErrUnreachable, Err: &refusal{fmt.Sprintf("ssh with port %d: %s", c.Port, words), err}}
	switch {
	case ctx.Err() != nil:
		e.Err = causeOf(ctx, err)
		e.Remedy = "the host took the connection, and then did not let anybody in for so long: see in the log of its sshd what it waits for"
	case keys.err != nil:
		return keys.refused(c, keys.err)
	case algorithms:
		e.Remedy = "let the host's sshd offer one of what was asked for"
	case errors.Is(err, io.EOF):
		e.Err = &refusal{fmt.Sprintf("the host hung up during the login (port %d)", c.Port), err}
		fallthrough
	case !keys.accepted, network, closed:
		e.Remedy = fmt.Sprintf("see in the log of the host's sshd why it hung up, and that it is sshd that listens on port %d", c.Port)
	default:
		return l.refused(c, err)
	}
	return e
}

// refused makes the error of a host key that was not accepted.
func (k *hostKeys) refused(c SSHConfig, err error) error {
	e := &Error{Host: c.Name, Kind: ErrHostKey, Err: err, Remedy: "make " + k.file + " a file that can be read and added to"}
	if judged, ok := errors.AsType[*hostKeyError](err); ok {
		e.Remedy = judged.remedy
	}
	return e
}

// causeOf gives the cause of ctx if that has ended, else err: a connection that breaks then is a consequence.
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

// Jump is a host through which other hosts are reached. It has one connection, which carries all others; that is made when it
// is first needed, and again after it was lost.
type Jump struct{ h *sshHost }

// NewJump makes a jump host. Nothing is dialled yet.
func NewJump(c SSHConfig) *Jump { return &Jump{newSSHHost(c)} }

// Close ends the connection, and with it all that go through it.
func (j *Jump) Close() error { return j.h.Close() }

func (j *Jump) dial(ctx context.Context, address string) (net.Conn, error) {
	for again := true; ; again = false {
		conn, err := j.h.connection(ctx)
		if err != nil {
			return nil, err
		}
		through, err := conn.client.DialContext(ctx, "tcp", address)
		if err == nil {
			return through, nil
		}
		if _, refused := errors.AsType[*ssh.OpenChannelError](err); !refused && again && ctx.Err() == nil {
			// The connection has ended, perhaps unnoticed so far.
			conn.client.Close()
			<-conn.lost
			continue
		}
		return nil, fmt.Errorf("through %s: %w", j.h.Name(), err)
	}
}

// dial opens the connection that the login happens on.
func (c SSHConfig) dial(ctx context.Context) (net.Conn, error) {
	if c.Via != nil {
		conn, err := c.Via.dial(ctx, c.hostPort())
		if jump, ok := errors.AsType[*Error](err); ok {
			// The error is that of the jump host: the host itself was not reached.
			return nil, &Error{Host: c.Name, Kind: jump.Kind, Err: fmt.Errorf("jump host %s: %w", jump.Host, jump.cause()), Remedy: jump.Remedy}
		}
		if err == nil {
			return conn, nil
		}
		return nil, &Error{Host: c.Name, Kind: ErrUnreachable, Err: causeOf(ctx, err), Remedy: behindJump(c, err)}
	}
	// A zero Dialer knows no proxies: only the address given is contacted.
	conn, err := (&net.Dialer{KeepAlive: tcpKeepalive}).DialContext(ctx, "tcp", c.hostPort())
	if err != nil {
		// Without the address, so that the same failure of many hosts reads the same.
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
			err = fmt.Errorf("port %d: %w", c.Port, op.Err)
		}
		return nil, &Error{Host: c.Name, Kind: ErrUnreachable, Err: causeOf(ctx, err), Remedy: notReached(c, err)}
	}
	return conn, nil
}

// notReached is the remedy for a host to which no connection could be made.
func notReached(c SSHConfig, err error) string {
	_, noName := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Sprintf("start sshd on the host, or give the port that it listens on in place of %d", c.Port)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "see that the host is up, and that this machine has a route to it"
	case noName:
		return "put its address into /etc/hosts of this machine"
	}
	return fmt.Sprintf("see that the host is up, and that no firewall drops what goes to its port %d", c.Port)
}

// behindJump is the remedy for a host behind a jump host. Of the cause the jump host tells little.
func behindJump(c SSHConfig, err error) string {
	if channel, ok := errors.AsType[*ssh.OpenChannelError](err); ok && channel.Reason == ssh.Prohibited {
		return "let the jump host's sshd forward connections (AllowTcpForwarding, PermitOpen)"
	}
	return fmt.Sprintf("see from the jump host that the host is up and its sshd listens on port %d", c.Port)
}

// Hop is one jump host as an operator writes it. Its empty fields take the settings of the host behind it.
type Hop struct {
	User, Host string
	Port       int
}

// ParseJump reads [USER@]HOST[:PORT], several with commas in the order in which they are passed. "none" and nothing mean no jump.
func ParseJump(text string) ([]Hop, error) {
	if text == "" || text == "none" {
		return nil, nil
	}
	var hops []Hop
	for item := range strings.SplitSeq(text, ",") {
		hop, err := parseHop(strings.TrimPrefix(strings.TrimSpace(item), "ssh://"))
		if err != nil {
			return nil, fmt.Errorf("jump host %q: %w", item, err)
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

func parseHop(text string) (Hop, error) {
	var hop Hop
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		hop.User, text = text[:at], text[at+1:]
		if hop.User == "" {
			return Hop{}, errWantHop
		}
	}
	hop.Host = text
	if host, port, err := net.SplitHostPort(text); err == nil {
		hop.Host = host
		if hop.Port, err = parsePort(port); err != nil {
			return Hop{}, err
		}
	}
	hop.Host = strings.TrimSuffix(strings.TrimPrefix(hop.Host, "["), "]")
	if _, err := netip.ParseAddr(hop.Host); err != nil && (hop.Host == "" || strings.ContainsAny(hop.Host, ":@/ \t") || hop.Host[0] == '-') {
		return Hop{}, errWantHop
	}
	return hop, nil
}

var errWantHop = errors.New("expected [USER@]HOST[:PORT]")
