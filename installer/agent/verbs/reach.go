package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// Bounds of what one call may open or dial.
const (
	maxListeners   = 32
	maxDials       = 4096
	dialsAtOnce    = 64
	listenLifetime = 2 * time.Minute
	dialPatience   = 3 * time.Second // a lost first packet is sent again after one second
)

func (m machine) listen(ctx context.Context, q agent.ListenRequest, c *call) (any, error) {
	if len(q.Ports) > maxListeners {
		return nil, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("%s to listen on, %d are allowed", count.Of(len(q.Ports), "port"), maxListeners)}
	}
	ctx, cancel := context.WithTimeout(ctx, listenLifetime)
	defer cancel()
	var res agent.ListenResult
	for _, port := range q.Ports {
		l, err := m.Listen(ctx, q.IP, port, q.Word)
		if err != nil {
			res.Busy = append(res.Busy, port)
			continue
		}
		defer l.Close()
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.end.Close() })
	defer stop()
	io.Copy(io.Discard, c.in) // until the installer ends the call
	return res, nil
}

// greeter sends a word over every connection, until it is closed.
type greeter struct {
	net.Listener
	done sync.WaitGroup
}

func (g *greeter) Close() error {
	err := g.Listener.Close()
	g.done.Wait()
	return err
}

func (g *greeter) greet(word string) {
	for {
		conn, err := g.Accept()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(dialPatience))
		io.WriteString(conn, word) // the dialling end reports errors
		conn.Close()
	}
}

// Listen listens on the address that others dial or, if the host does not have it (address translation), on all of its own.
func (system) Listen(ctx context.Context, ip string, port int, word string) (io.Closer, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		l, err = lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(port)))
	}
	if err != nil {
		return nil, err
	}
	g := &greeter{Listener: l}
	g.done.Go(func() { g.greet(word) })
	return g, nil
}

func (m machine) reach(ctx context.Context, q agent.ReachRequest) (agent.ReachResult, error) {
	if len(q.Endpoints) > maxDials {
		return agent.ReachResult{}, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("%s to dial, %d are allowed", count.Of(len(q.Endpoints), "endpoint"), maxDials)}
	}
	whys := make([]string, len(q.Endpoints))
	slots := make(chan struct{}, dialsAtOnce)
	var all sync.WaitGroup
	for i, e := range q.Endpoints {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			whys[i] = m.Reach(ctx, e, q.Word)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return agent.ReachResult{}, context.Cause(ctx)
	}
	var res agent.ReachResult
	for i, why := range whys {
		if why != "" {
			res.Unreached = append(res.Unreached, agent.Unreached{Endpoint: q.Endpoints[i], Why: why})
		}
	}
	return res, nil
}

func (system) Reach(ctx context.Context, e agent.Endpoint, word string) string {
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
	if word == "" {
		return "" // that it takes connections is the answer
	}
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
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	}
	return err.Error()
}
