package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Jump is a host through which others are reached. One connection carries those to all of them; it is made when the
// first is wanted, and again when it was lost.
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
		select {
		case <-conn.lost:
			if again && ctx.Err() == nil {
				continue
			}
		default:
		}
		return nil, fmt.Errorf("through %s: %w", j.h.Name(), err)
	}
}

// dial opens the connection that the login happens on.
func (c SSHConfig) dial(ctx context.Context) (net.Conn, error) {
	if c.Via != nil {
		conn, err := c.Via.dial(ctx, c.hostPort())
		var jump *Error
		if errors.As(err, &jump) {
			// The host itself was not reached; what is wrong is with the one before it.
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
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			err = fmt.Errorf("port %d: %w", c.Port, op.Err)
		}
		return nil, &Error{Host: c.Name, Kind: ErrUnreachable, Err: causeOf(ctx, err), Remedy: notReached(c, err)}
	}
	return conn, nil
}

// notReached is what to do about a host that no connection could be made to.
func notReached(c SSHConfig, err error) string {
	var name *net.DNSError
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Sprintf("start sshd on the host, or give the port that it listens on in place of %d", c.Port)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "see that the host is up, and that this machine has a route to it"
	case errors.As(err, &name):
		return "put its address into /etc/hosts of this machine"
	}
	return fmt.Sprintf("see that the host is up, and that no firewall drops what goes to its port %d", c.Port)
}

// behindJump is the same for one behind a jump host, which tells little of why it could not connect.
func behindJump(c SSHConfig, err error) string {
	var channel *ssh.OpenChannelError
	if errors.As(err, &channel) && channel.Reason == ssh.Prohibited {
		return "let the jump host's sshd forward connections (AllowTcpForwarding, PermitOpen)"
	}
	return fmt.Sprintf("see from the jump host that the host is up and its sshd listens on port %d", c.Port)
}

// Hop is one jump host as an operator writes it: empty fields take what the host behind it has.
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
