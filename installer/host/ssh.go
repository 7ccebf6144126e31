package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// sshHost runs commands over one connection, made again when it was lost.
type sshHost struct {
	config SSHConfig
	slots  chan struct{} // one for each command that runs
	dial   chan struct{} // held while a connection is made

	mu     sync.Mutex
	conn   *connection
	closed bool
	root   *rootAccess
}

// DialSSH logs in to a host. All commands share that one connection, eight at a time; one that was lost is made again for the
// next command. The error is an [*Error]: ErrUnreachable, ErrAuth or ErrHostKey.
func DialSSH(ctx context.Context, c SSHConfig) (Host, error) {
	h := newSSHHost(c)
	if _, err := h.connection(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

func newSSHHost(c SSHConfig) *sshHost {
	return &sshHost{config: c.withDefaults(), slots: make(chan struct{}, maxSessions), dial: make(chan struct{}, 1)}
}

func (h *sshHost) Name() string { return h.config.Name }

func (h *sshHost) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.conn == nil {
		return nil
	}
	err := h.conn.client.Close()
	h.conn = nil
	if errors.Is(err, io.EOF) || isClosed(err) {
		return nil
	}
	return err
}

func (h *sshHost) Put(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
	return putThrough(ctx, h, path, mode, r)
}

// connection gives the connection that is up, or a new one.
func (h *sshHost) connection(ctx context.Context) (*connection, error) {
	select {
	case h.dial <- struct{}{}:
		defer func() { <-h.dial }()
	case <-ctx.Done():
		return nil, &Error{Host: h.Name(), Kind: ErrUnreachable, Err: context.Cause(ctx)}
	}
	h.mu.Lock()
	conn, closed := h.conn, h.closed
	h.mu.Unlock()
	if closed {
		return nil, h.unreachable(errors.New("the connection was closed here"))
	}
	if conn != nil {
		select {
		case <-conn.lost:
		default:
			return conn, nil
		}
	}
	conn, err := connect(ctx, h.config)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		conn.client.Close()
		return nil, h.unreachable(errors.New("the connection was closed here"))
	}
	h.conn = conn
	return conn, nil
}

// session opens a channel for one command. The caller must call release when the command is over.
func (h *sshHost) session(ctx context.Context) (*ssh.Session, *connection, func(), error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, nil, context.Cause(ctx)
	}
	release := func() { <-h.slots }
	renewed := false
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 700*time.Millisecond) {
		conn, err := h.connection(ctx)
		if err != nil {
			release()
			return nil, nil, nil, err
		}
		s, err := open(ctx, conn)
		if err == nil {
			return s, conn, release, nil
		}
		// A host that allows fewer sessions than we run refuses some: those wait until others of ours end. If it refuses the
		// only one it may not have noticed the end of the one before, and is asked again for a second.
		_, full := errors.AsType[*ssh.OpenChannelError](err)
		if !full && !renewed && ctx.Err() == nil {
			// The connection has ended unnoticed. Nothing has run yet, so a new connection will do.
			renewed = true
			conn.client.Close()
			<-conn.lost
			continue
		}
		if !full || (len(h.slots) < 2 && pause >= 640*time.Millisecond) {
			release()
			return nil, nil, nil, h.unreachable(err)
		}
		if err := wait.For(ctx, pause); err != nil {
			release()
			return nil, nil, nil, err
		}
	}
}

// open is client.NewSession that gives up with its context.
func open(ctx context.Context, conn *connection) (*ssh.Session, error) {
	type answer struct {
		s   *ssh.Session
		err error
	}
	got := make(chan answer, 1)
	go func() {
		s, err := conn.client.NewSession()
		got <- answer{s, err}
	}()
	select {
	case a := <-got:
		return a.s, a.err
	case <-ctx.Done():
		go func() {
			if a := <-got; a.s != nil {
				a.s.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (h *sshHost) unreachable(err error) error {
	return &Error{Host: h.Name(), Kind: ErrUnreachable, Err: err, Remedy: "see that the host is up and the line to it holds, then run the same command again"}
}

// HostKeyPolicy says what to do about a host's key.
type HostKeyPolicy int

const (
	Strict    HostKeyPolicy = iota // the key must be in a known_hosts file, or certified by an authority there
	AcceptNew                      // a host in none of the files is added; one with another key than is known is refused
	Off                            // any key is taken; only for hosts that are made anew all the time
)

// ParseHostKeyPolicy reads strict, accept-new or off.
func ParseHostKeyPolicy(s string) (HostKeyPolicy, error) {
	for p := Strict; p <= Off; p++ {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("host key policy %q: want strict, accept-new or off", s)
}

func (p HostKeyPolicy) String() string {
	switch p {
	case Strict:
		return "strict"
	case AcceptNew:
		return "accept-new"
	case Off:
		return "off"
	}
	return "HostKeyPolicy(" + strconv.Itoa(int(p)) + ")"
}

const (
	defaultTimeout = 15 * time.Second
	defaultPort    = 22
	defaultUser    = "root"
	// A dead connection is noticed after three of these at the latest; a loaded sshd answers well before.
	defaultKeepalive = 15 * time.Second
	// maxSessions is how many commands run on one connection at once: sshd's MaxSessions is 10 unless configured.
	maxSessions = 8
)

// SSHConfig says how to log in to a host.
type SSHConfig struct {
	Name     string // what Name() returns; empty means Address
	Address  string // IP address, or a name this machine resolves
	Port     int    // 0 means 22
	User     string // empty means root
	Password string // answers the password and the keyboard-interactive method, and sudo where it asks
	// KeyFiles are private keys, tried in order and before the password, each after the certificate that lies beside it
	// (id_x-cert.pub). Files that do not exist or cannot be used are passed over, so that a list of customary names can be given.
	KeyFiles      []string
	CertFiles     []string // further certificates, for keys of KeyFiles or of the agent
	KeyPassphrase string   // for the keys that are encrypted
	AgentSocket   string   // an ssh agent's socket; its keys are tried after KeyFiles; empty means none
	KnownHosts    string   // file; not read when HostKey is Off; made by AcceptNew
	AlsoKnown     []string // further such files, the operator's own; KnownHosts takes keys over from them
	HostKey       HostKeyPolicy
	Via           *Jump         // the host to go through; nil means directly
	Timeout       time.Duration // for connecting and logging in, together; 0 means 15 s
	Keepalive     time.Duration // how often a silent connection is probed; 0 means 15 s
}

func (c SSHConfig) withDefaults() SSHConfig {
	c.Name, c.Port, c.User = cmp.Or(c.Name, c.Address), cmp.Or(c.Port, defaultPort), cmp.Or(c.User, defaultUser)
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Keepalive <= 0 {
		c.Keepalive = defaultKeepalive
	}
	return c
}

func (c SSHConfig) hostPort() string { return net.JoinHostPort(c.Address, strconv.Itoa(c.Port)) }
