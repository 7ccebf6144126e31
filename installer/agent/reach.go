package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Bounds of what one call may open or dial.
const (
	maxListeners   = 32
	maxDials       = 4096
	dialsAtOnce    = 64
	listenLifetime = 2 * time.Minute
	dialPatience   = 3 * time.Second // a lost first packet is sent again after one second
)

type listenRequest struct {
	IP    string `json:"ip"`
	Ports []int  `json:"ports"`
	Word  string `json:"word"`
}

type listenResult struct {
	Busy []int `json:"busy,omitempty"`
}

// Endpoint is an address and a TCP port.
type Endpoint struct {
	IP   string `json:"ip"`
	Port int    `json:"port"`
}

type dialRequest struct {
	Endpoints []Endpoint `json:"endpoints"`
	Word      string     `json:"word"`
}

// Unreached is an endpoint that could not be talked to, and why: "refused", "silent" (nothing comes back, as from a
// firewall that drops), "no route", "another answers", or the system's words.
type Unreached struct {
	Endpoint
	Why string `json:"why"`
}

type dialResult struct {
	Unreached []Unreached `json:"unreached,omitempty"`
}

// Listening are ports that a host has open for a short time.
type Listening struct{ s *session }

// Listen opens TCP ports on the host and says a word to whoever connects, until Close, the end of ctx or two minutes.
// Ports that somebody has already are left alone.
func (a *Agent) Listen(ctx context.Context, ip string, ports []int, word string) (*Listening, error) {
	s, err := a.open(ctx, verbListen, listenRequest{ip, ports, word}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.wants(); err != nil {
		return nil, s.close(err)
	}
	return &Listening{s}, nil
}

// Close gives the ports back, and tells those that were never ours.
func (l *Listening) Close() (busy []int, err error) {
	l.s.in.Close()
	var res listenResult
	err = l.s.close(l.s.result(&res))
	return res.Busy, err
}

// Reach dials endpoints from the host, each for three seconds at most, and gives those that did not say the word.
func (a *Agent) Reach(ctx context.Context, endpoints []Endpoint, word string) ([]Unreached, error) {
	var res dialResult
	err := a.call(ctx, verbReach, dialRequest{endpoints, word}, &res, nil)
	return res.Unreached, err
}

// listen and reach do nothing on a simulated machine, which has no network of its own to try.
func (m machine) listen(ctx context.Context, q listenRequest, c *call) (any, error) {
	if m.sim != nil {
		q.Ports = nil
	}
	if len(q.Ports) > maxListeners {
		return nil, &Error{Code: CodeRefused, Message: fmt.Sprintf("%d ports to listen on, %d are allowed", len(q.Ports), maxListeners)}
	}
	ctx, cancel := context.WithTimeout(ctx, listenLifetime)
	defer cancel()
	var res listenResult
	var all sync.WaitGroup
	defer all.Wait()
	for _, port := range q.Ports {
		l, err := listenOn(ctx, q.IP, port)
		if err != nil {
			res.Busy = append(res.Busy, port)
			continue
		}
		defer l.Close()
		all.Go(func() { greet(l, q.Word) })
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.end.Close() })
	defer stop()
	io.Copy(io.Discard, c.in) // until nobody needs the ports any more
	return res, nil
}

// listenOn takes the address the others dial; behind a translation of addresses the host does not have it.
func listenOn(ctx context.Context, ip string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		l, err = lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(port)))
	}
	return l, err
}

func greet(l net.Listener, word string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(dialPatience))
		io.WriteString(conn, word) // who went away again is told by the one who dials
		conn.Close()
	}
}

func (m machine) reach(ctx context.Context, q dialRequest, _ *answers) (any, error) {
	if m.sim != nil {
		return dialResult{}, nil
	}
	if len(q.Endpoints) > maxDials {
		return nil, &Error{Code: CodeRefused, Message: fmt.Sprintf("%d endpoints to dial, %d are allowed", len(q.Endpoints), maxDials)}
	}
	whys := make([]string, len(q.Endpoints))
	slots := make(chan struct{}, dialsAtOnce)
	var all sync.WaitGroup
	for i, e := range q.Endpoints {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			whys[i] = dialOne(ctx, e, q.Word)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var res dialResult
	for i, why := range whys {
		if why != "" {
			res.Unreached = append(res.Unreached, Unreached{q.Endpoints[i], why})
		}
	}
	return res, nil
}

// dialOne gives why an endpoint did not say the word; empty when it did.
func dialOne(ctx context.Context, e Endpoint, word string) string {
	if _, err := netip.ParseAddr(e.IP); err != nil {
		return "not an address"
	}
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(e.IP, strconv.Itoa(e.Port)))
	if err != nil {
		return whyNot(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	got, err := io.ReadAll(io.LimitReader(conn, int64(len(word))+1))
	switch {
	case err != nil && len(got) == 0:
		return whyNot(err)
	case string(got) != word:
		return "another answers"
	}
	return ""
}

func whyNot(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "silent"
	case slices.ContainsFunc([]error{syscall.EHOSTUNREACH, syscall.ENETUNREACH}, func(e error) bool { return errors.Is(err, e) }):
		return "no route"
	}
	return err.Error()
}
