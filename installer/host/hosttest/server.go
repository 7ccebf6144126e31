package hosttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// ServerConfig says how an in-process ssh server behaves. The zero value lets anybody in.
type ServerConfig struct {
	Listen      string        // address, port 0 for any; empty means 127.0.0.1:0
	HostKeys    []ssh.Signer  // one is made if there are none
	Password    string        // if set, the password method wants it
	Interactive string        // if set, the keyboard-interactive method wants it
	PublicKey   ssh.PublicKey // if set, the publickey method wants it
	AlsoKey     ssh.PublicKey // a second key that it takes
	MaxSessions int           // sessions at once on a connection; 0 means no limit
	Env         []string      // environment of commands; nil means that of the test
	StartUp     string        // what the login shell reads at its start, before each command
	Silent      bool          // requests of the connection (keepalives) are never answered
}

// Server is an ssh server that runs commands with /bin/sh as the user of the test.
type Server struct {
	Port int
	Keys []ssh.Signer

	config   ServerConfig
	ssh      *ssh.ServerConfig
	listener net.Listener

	mu       sync.Mutex
	conns    map[net.Conn]bool
	accepted int
	sessions int
	most     int
	commands []string
	secrets  int
	groups   map[int]bool // process groups of the commands that run
}

// NewKey makes an ed25519 key.
func NewKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// StartServer serves until the test ends.
func StartServer(t testing.TB, c ServerConfig) *Server {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if len(c.HostKeys) == 0 {
		c.HostKeys = []ssh.Signer{NewKey(t)}
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Port: l.Addr().(*net.TCPAddr).Port, Keys: c.HostKeys, config: c,
		listener: l, conns: map[net.Conn]bool{}, groups: map[int]bool{},
	}
	s.ssh = s.auth(c)
	for _, k := range c.HostKeys {
		s.ssh.AddHostKey(k)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.Cut()
		s.killAll()
		all.Wait()
	})
	return s
}

// Cut breaks every connection there is.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Connections is how many were accepted so far.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// MostSessions is the largest number of sessions that were open at once.
func (s *Server) MostSessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Passwords is how many passwords and answers were sent so far.
func (s *Server) Passwords() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets
}

func (s *Server) countPassword() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets++
}

// Commands are the command lines received so far, as the login shell gets them.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *Server) serve(conn net.Conn) {
	s.mu.Lock()
	s.conns[conn] = true
	s.accepted++
	s.mu.Unlock()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	sc, channels, requests, err := ssh.NewServerConn(conn, s.ssh)
	if err != nil {
		return
	}
	defer sc.Close()
	go func() {
		for r := range requests {
			if !s.config.Silent && r.WantReply {
				r.Reply(false, nil)
			}
		}
	}()
	var all sync.WaitGroup
	defer all.Wait()
	for c := range channels {
		if c.ChannelType() == "direct-tcpip" {
			all.Go(func() { forward(c) })
			continue
		}
		if c.ChannelType() != "session" || !s.begin() {
			c.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			s.finish()
			continue
		}
		all.Go(func() { s.session(channel, requests) })
	}
}

// forward connects a channel with the address it asks for, as a jump host does.
func forward(c ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		FromHost string
		FromPort uint32
	}
	if err := ssh.Unmarshal(c.ExtraData(), &to); err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	go func() {
		io.Copy(channel, conn)
		channel.Close()
	}()
	io.Copy(conn, channel)
}

// begin counts a session, unless there are too many.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.MaxSessions > 0 && s.sessions >= s.config.MaxSessions {
		return false
	}
	s.sessions++
	s.most = max(s.most, s.sessions)
	return true
}

func (s *Server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
}
