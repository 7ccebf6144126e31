package care

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// Status is what a care that follows a list file does now.
type Status struct {
	VIP      netip.AddrPort   `json:"vip"`
	Mode     string           `json:"mode"`               // ModeIPVS or ModeProxy
	Wanted   []netip.AddrPort `json:"wanted"`             // the list in force
	Withheld []netip.AddrPort `json:"withheld,omitempty"` // those of it that are withheld; a care that is older never says it
	Ready    []netip.AddrPort `json:"ready,omitempty"`    // those that said at the last probe that they are; a care that is older never says it
	Servers  []Server         `json:"servers"`            // as connections meet them now
	Problem  string           `json:"problem,omitempty"`
}

// String is one line for people: the address, how it is served, and the servers with what is special about them.
func (s Status) String() string {
	words := []string{s.VIP.String(), "by", s.Mode + ":"}
	for _, x := range s.Servers {
		word := x.Addr.String()
		switch {
		case x.Weight == 0 && !slices.Contains(s.Wanted, x.Addr):
			word += "(leaving)"
		case slices.Contains(s.Withheld, x.Addr):
			word += "(withheld)"
		case x.Weight == 0:
			word += "(not ready)"
		}
		words = append(words, word)
	}
	for _, a := range s.Wanted {
		if s.at(a) == nil {
			words = append(words, a.String()+"(silent)")
		}
	}
	if s.Problem != "" {
		words = append(words, "problem: "+s.Problem)
	}
	return strings.Join(words, " ")
}

// at is a server as connections meet it; nil if they do not.
func (s Status) at(a netip.AddrPort) *Server {
	i := slices.IndexFunc(s.Servers, func(x Server) bool { return x.Addr == a })
	if i < 0 {
		return nil
	}
	return &s.Servers[i]
}

// follows gives an error unless care keeps vip with exactly these servers, in whatever order, and withholds those of them that the
// list says. The servers of ready must have said that they are, and get connections.
func (s Status) follows(vip netip.AddrPort, list List, ready []netip.AddrPort) error {
	takes := func(a netip.AddrPort) bool { x := s.at(a); return x != nil && x.Weight > 0 }
	strange := func(x Server) bool { return x.Weight > 0 && !slices.Contains(list.Servers, x.Addr) }
	switch {
	case s.VIP != vip:
		return fmt.Errorf("care keeps %s, not %s", s.VIP, vip)
	case !sameSet(s.Wanted, list.Servers):
		return fmt.Errorf("care keeps to %v, not to %v: %s", s.Wanted, list.Servers, s)
	case !sameSet(s.Withheld, list.Withheld):
		return fmt.Errorf("care withholds %v, not %v: %s", s.Withheld, list.Withheld, s)
	case slices.ContainsFunc(s.Servers, strange):
		return fmt.Errorf("a server that is not of %v still gets connections: %s", list.Servers, s)
	case slices.ContainsFunc(list.Withheld, takes):
		return fmt.Errorf("of %v, which are withheld, one still gets connections, since no other server is ready: %s", list.Withheld, s)
	case slices.ContainsFunc(ready, func(a netip.AddrPort) bool { return !takes(a) || !slices.Contains(s.Ready, a) }):
		return fmt.Errorf("not all of %v are ready: %s", ready, s)
	case s.Problem != "":
		return errors.New(s.Problem)
	}
	return nil
}

// Ask gives the status of the care that follows a list file on this host.
func Ask(ctx context.Context, list string) (Status, error) {
	// Its own time alone: an answer comes at once or not at all, and one that the end of ctx cuts off would hide the cause.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var s Status
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket(list))
	if err != nil {
		return s, fmt.Errorf("no care follows %s: %w (look at `systemctl status %s` and `journalctl -u %s`)", list, err, Unit, Unit)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return s, fmt.Errorf("ask care for its status: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&s); err != nil {
		return s, fmt.Errorf("ask care for its status: %w", err)
	}
	return s, nil
}

// Confirm waits until the care that follows a list file keeps vip with exactly these servers, withholds those of them that it is
// to withhold and no other, has found those of ready to be so, and connections to it are answered. The error is the last cause when
// ctx ends.
func Confirm(ctx context.Context, file string, vip netip.AddrPort, list List, ready ...netip.AddrPort) (s Status, err error) {
	err = wait.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (err error) {
		if s, err = Ask(ctx, file); err != nil {
			return err
		}
		return s.follows(vip, list, ready)
	})
	if err != nil {
		return s, err
	}
	return s, Check(ctx, vip)
}

// Watch logs the status of the care that follows a list file whenever it changes, until ctx ends.
func Watch(ctx context.Context, list string, log *slog.Logger) {
	last := ""
	for {
		s, err := Ask(ctx, list)
		if ctx.Err() != nil {
			return
		}
		text := s.String()
		if err != nil {
			text = err.Error()
		}
		if text != last {
			log.Info(text)
		}
		last = text
		if wait.For(ctx, time.Second) != nil {
			return
		}
	}
}

// board holds the status for those who ask.
type board struct {
	mu   sync.Mutex
	text []byte
}

func (b *board) put(s Status) {
	text, err := json.Marshal(s)
	if err != nil {
		text = []byte(`{"problem":` + strconv.Quote(err.Error()) + `}`)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = text
}

// serve answers at the socket beside the list file until ctx ends. A socket that a killed care left is replaced.
func (b *board) serve(ctx context.Context, list string) error {
	path := socket(list)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("tell the status: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("tell the status: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of file descriptors, say
				if wait.For(ctx, 100*time.Millisecond) != nil {
					return
				}
				continue
			}
			b.mu.Lock()
			text := b.text
			b.mu.Unlock()
			// It fits into the socket's buffer, so that nobody who does not read is waited for.
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write(text)
			_ = conn.Close()
		}
	}()
	return nil
}
