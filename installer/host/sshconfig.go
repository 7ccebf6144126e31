package host

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// HostKeyPolicy says what to do about a host's key.
type HostKeyPolicy int

const (
	Strict    HostKeyPolicy = iota // the key must be in a known_hosts file, or certified by an authority in one
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
	// (id_x-cert.pub). What does not exist or cannot be used is passed over, so that a list of customary names can be given.
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
	if c.Name == "" {
		c.Name = c.Address
	}
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.User == "" {
		c.User = defaultUser
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Keepalive <= 0 {
		c.Keepalive = defaultKeepalive
	}
	return c
}

func (c SSHConfig) hostPort() string { return net.JoinHostPort(c.Address, strconv.Itoa(c.Port)) }
