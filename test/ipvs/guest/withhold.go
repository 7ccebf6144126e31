//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/moby/ipvs"

	"github.com/sealbuild/sealbuild/installer/care"
)

// load is what clients ask through the virtual address until it ends, each by its own way.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
	mu     sync.Mutex
	began  time.Time
	asked  map[string]int
	slow   time.Duration
	lost   []error
}

// newConnections is how many questions a second come on connections of their own.
const newConnections = 50

// askPlain asks on a connection of its own which server answers, without TLS.
func askPlain() (string, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(vip, port), 15*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "?"); err != nil {
		return "", err
	}
	who, err := io.ReadAll(conn)
	if err == nil && len(who) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(who), err
}

// startLoad has clients ask on connections of their own, and on two that stay open: by HTTP/1.1 and by HTTP/2.
func startLoad(ctx context.Context) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, began: time.Now(), asked: map[string]int{}}
	l.wait.Go(func() {
		for range time.Tick(time.Second / newConnections) {
			if ctx.Err() != nil {
				return
			}
			l.wait.Go(func() {
				l.note("on connections of their own", func() error { _, err := askPlain(); return err })
			})
		}
	})
	for way, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		l.wait.Go(func() {
			c := newStream(http2)
			for pause(ctx, 50*time.Millisecond) == nil {
				l.note("by "+way, func() error { _, err := c.ask(); return err })
			}
		})
	}
	return l
}

func (l *load) note(way string, ask func() error) {
	began := time.Now()
	err := ask()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[way]++
	l.slow = max(l.slow, time.Since(began))
	if err != nil {
		l.lost = append(l.lost, fmt.Errorf("%s, after %s: %w", way, began.Sub(l.began).Round(time.Millisecond), err))
	}
}

func (l *load) end() error {
	l.cancel()
	l.wait.Wait()
	fmt.Printf("ipvs: questions in %s: %v, the slowest took %s\n", time.Since(l.began).Round(time.Second), l.asked, l.slow.Round(time.Millisecond))
	if len(l.lost) > 0 {
		return fmt.Errorf("%d questions got no answer: %w", len(l.lost), errors.Join(l.lost...))
	}
	return nil
}

// stream is a client that keeps its connection.
type stream struct{ http.Client }

func newStream(http2 bool) *stream {
	return &stream{http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2,
	}}}
}

// ask tells which server answers.
func (s *stream) ask() (string, error) {
	resp, err := s.Get("https://" + net.JoinHostPort(vip, port) + "/who")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	server, _, _ := strings.Cut(string(body), " ")
	return server, err
}

// streamTo opens a connection that stays, to a server.
func streamTo(server string, http2 bool) (*stream, error) {
	for range 20 {
		s := newStream(http2)
		who, err := s.ask()
		if err != nil || who == server {
			return s, err
		}
		s.CloseIdleConnections()
	}
	return nil, fmt.Errorf("%s is never met", server)
}

// expectElsewhere asks on connections of their own, none of which may meet a server.
func expectElsewhere(server string) error {
	for range 12 {
		if who, err := askPlain(); err != nil || who == server {
			return errors.Join(fmt.Errorf("a new connection is answered by %q", who), err)
		}
	}
	return nil
}

// expectWithheld does to the first server what an upgrade does with a master, while clients ask and connections to it are open.
func expectWithheld(ctx context.Context, k *keeper, m *masters, all []string) error {
	target, list := all[0], care.List{Servers: addrPorts(all), Withheld: addrPorts(all[:1])}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching *watch
	for range 4 * len(all) {
		w, err := openWatch(ctx)
		if err != nil {
			return err
		}
		if w.server == target {
			watching = w
		}
	}
	streams := map[string]*stream{}
	for way, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		var err error
		if streams[way], err = streamTo(target, http2); err != nil {
			return err
		}
	}
	if watching == nil {
		return fmt.Errorf("no watch at %s", target)
	}
	l := startLoad(ctx)
	return errors.Join(upgrade(ctx, k, m, list, watching, streams), l.end())
}

func upgrade(ctx context.Context, k *keeper, m *masters, list care.List, watching *watch, streams map[string]*stream) error {
	target := list.Withheld[0].Addr().String()
	began := time.Now()
	k.tellList(list)
	if err := eventually(ctx, func() error { return k.confirmList(ctx, list) }); err != nil {
		return err
	}
	fmt.Printf("ipvs: withheld after %s\n", time.Since(began).Round(time.Millisecond))
	if err := expectElsewhere(target); err != nil {
		return err
	}
	// Longer than a removed server's connections have.
	if err := pause(ctx, drain+2*interval); err != nil {
		return err
	}
	for way, s := range streams {
		if who, err := s.ask(); err != nil || who != target {
			return errors.Join(fmt.Errorf("the open connection by %s is answered by %q", way, who), err)
		}
	}
	if watching.over() {
		return errors.New("the watch at the server that is withheld ended")
	}
	if err := expectOpen(target, 3); err != nil {
		return err
	}
	// The server ends as kube-apiserver does: it is red for a while, takes no more connections, and ends what it has.
	if err := m.tell("red", target); err != nil {
		return err
	}
	if err := pause(ctx, 5*interval/2); err != nil {
		return err
	}
	began = time.Now()
	if err := m.tell("end", target); err != nil {
		return err
	}
	if err := eventually(ctx, func() error {
		if !watching.over() {
			return errors.New("the watch at the server that has ended is not told")
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Printf("ipvs: the watch at the server that ends is told after %s\n", time.Since(began).Round(time.Millisecond))
	for way, s := range streams {
		if who, err := s.ask(); err != nil || who == target {
			return errors.Join(fmt.Errorf("the connection by %s to the server that has ended: %q answers", way, who), err)
		}
	}
	if err := pause(ctx, 3*interval); err != nil {
		return err
	}
	if err := m.tell("start", target); err != nil {
		return err
	}
	if err := pause(ctx, 3*interval); err != nil {
		return err
	}
	if err := expectElsewhere(target); err != nil {
		return fmt.Errorf("back, and still withheld: %w", err)
	}
	plain := care.List{Servers: list.Servers}
	began = time.Now()
	k.tellList(plain)
	if err := eventually(ctx, func() error { return k.confirmList(ctx, plain, list.Withheld[0]) }); err != nil {
		return err
	}
	fmt.Printf("ipvs: released after %s\n", time.Since(began).Round(time.Millisecond))
	return expectSpread(ctx, masterAddrs())
}

// expectOpen asks the kernel for a server without weight that has at least so many connections.
func expectOpen(server string, connections int) error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	dests, err := h.GetDestinations(service(vip, 6443))
	if err != nil {
		return err
	}
	for _, d := range dests {
		if d.Address.String() == server && d.Weight == 0 && d.ActiveConnections >= connections {
			return nil
		}
	}
	return fmt.Errorf("the kernel has no %s with weight 0 and %d connections", server, connections)
}
