//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	nodeAddr  = "10.1.0.1"
	port      = "6443"
	masterEnd = "master0"
)

// masterAddrs are the API servers' addresses, all in one namespace.
func masterAddrs() []string { return []string{"10.1.0.11", "10.1.0.12", "10.1.0.13"} }

// connect lays the cable from this namespace into that of pid.
func connect(pid int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "node0"}, PeerName: masterEnd, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("lay the cable: %w", err)
	}
	return address("node0", nodeAddr)
}

func address(link string, addrs ...string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, link, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// serveMasters does what it is told, one order a line: network, start ADDR, red ADDR, end ADDR (what runs ends first), stop ADDR.
func serveMasters(in io.Reader, out io.Writer) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	running := map[string]*apiServer{}
	for sc := bufio.NewScanner(in); sc.Scan(); {
		verb, addr, _ := strings.Cut(sc.Text(), " ")
		var err error
		switch verb {
		case "network":
			err = address(masterEnd, masterAddrs()...)
		case "start":
			running[addr], err = serve(addr, cert)
		case "stop":
			if s := running[addr]; s != nil {
				err = s.Close()
			}
		case "end":
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			err = running[addr].Shutdown(ctx)
			cancel()
		case "red":
			running[addr].red.Store(true)
		}
		if err != nil {
			fmt.Fprintln(out, err)
			continue
		}
		fmt.Fprintln(out, "done")
	}
	return nil
}

// apiServer is an API server as far as a load balancer can tell: TLS, a health
// path that is red before it ends, a name that tells which one answered, and
// requests that end with the server.
type apiServer struct {
	*http.Server
	red atomic.Bool
}

func serve(addr string, cert tls.Certificate) (*apiServer, error) {
	tcp, err := net.Listen("tcp", net.JoinHostPort(addr, port))
	if err != nil {
		return nil, err
	}
	l := answerPlain(tcp, addr)
	s, ending := new(apiServer), make(chan struct{})
	s.Server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}}, // HTTP/2, too
		ErrorLog:          log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/who":
				fmt.Fprint(w, addr, " ", r.RemoteAddr)
			case r.URL.Path == "/watch":
				fmt.Fprintln(w, addr)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-ending:
				}
			case s.red.Load():
				http.Error(w, "shutdown", http.StatusInternalServerError)
			default:
				fmt.Fprint(w, "ok")
			}
		}),
	}
	s.RegisterOnShutdown(func() { close(ending) })
	go func() { _ = s.ServeTLS(l, "", "") }()
	return s, nil
}

// plain is a listener of which TLS clients alone are left: others say a word, and are told the server's name. An emulated machine
// has no time for many handshakes.
type plain struct {
	net.Listener
	rest chan net.Conn
}

func answerPlain(l net.Listener, name string) *plain {
	p := &plain{l, make(chan net.Conn)}
	go func() {
		defer close(p.rest)
		var wait sync.WaitGroup
		defer wait.Wait()
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			wait.Go(func() {
				first := make([]byte, 1)
				_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
				if _, err := io.ReadFull(conn, first); err != nil {
					conn.Close()
					return
				}
				_ = conn.SetReadDeadline(time.Time{})
				if first[0] == tlsHandshake {
					p.rest <- &unread{conn, first}
					return
				}
				fmt.Fprint(conn, name)
				conn.Close()
			})
		}
	}()
	return p
}

// tlsHandshake is with what a TLS client begins.
const tlsHandshake = 22

func (p *plain) Accept() (net.Conn, error) {
	if conn, ok := <-p.rest; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// unread is a connection of which something was read already.
type unread struct {
	net.Conn
	head []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if len(u.head) > 0 {
		n := copy(b, u.head)
		u.head = u.head[n:]
		return n, nil
	}
	return u.Conn.Read(b)
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
