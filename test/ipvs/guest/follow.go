//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
)

// asking asks through the virtual address, twice at once and many times a second, until end is called. That tells how often, and
// which questions got no answer. One that is only late, on a machine under load, is not lost.
func asking(ctx context.Context) (end func() (int64, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var n atomic.Int64
	var mu sync.Mutex
	var lost []error
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for pause(ctx, 30*time.Millisecond) == nil {
				n.Add(1)
				if _, _, err := ask(context.WithoutCancel(ctx), 15*time.Second); err != nil {
					mu.Lock()
					lost = append(lost, err)
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, error) {
		cancel()
		wait.Wait()
		if len(lost) > 0 {
			return n.Load(), fmt.Errorf("%d of %d questions got no answer: %w", len(lost), n.Load(), lost[0])
		}
		return n.Load(), nil
	}
}

// expectAnswered runs fn while it asks.
func expectAnswered(ctx context.Context, fn func() error) error {
	end := asking(ctx)
	err := fn()
	n, lost := end()
	fmt.Printf("ipvs: %d questions\n", n)
	return errors.Join(err, lost)
}

// expectListFollowed takes each server out of the list and in again.
func expectListFollowed(ctx context.Context, k *keeper, all []string) error {
	return expectAnswered(ctx, func() error {
		for i := range all {
			fewer := append(append([]string{}, all[:i]...), all[i+1:]...)
			k.tell(fewer...)
			if err := k.confirm(ctx, fewer...); err != nil {
				return err
			}
			if err := pause(ctx, 3*interval/2); err != nil {
				return err
			}
			k.tell(all...)
			if err := k.confirm(ctx, all...); err != nil {
				return err
			}
		}
		return nil
	})
}

// expectPlannedStop stops each server as kube-apiserver does, and starts it again.
func expectPlannedStop(ctx context.Context, m *masters, all []string) error {
	return expectAnswered(ctx, func() error {
		for _, a := range all {
			if err := m.tell("red", a); err != nil {
				return err
			}
			// On a machine under load care takes longer than the delay of an idle one.
			if err := eventually(ctx, func() error { return expectNoWeight(ctx, a) }); err != nil {
				return err
			}
			if err := pause(ctx, 5*interval/2); err != nil {
				return err
			}
			for _, what := range []string{"end", "start"} {
				if err := m.tell(what, a); err != nil {
					return err
				}
			}
			if err := eventually(ctx, func() error { return expectServers(all...) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// expectNoWeight asks care whether a server gets no new connections.
func expectNoWeight(ctx context.Context, addr string) error {
	s, err := care.Ask(ctx, listFile)
	if err == nil && slices.ContainsFunc(s.Servers, func(x care.Server) bool { return x.Addr.Addr().String() == addr && x.Weight > 0 }) {
		err = fmt.Errorf("%s still gets connections: %s", addr, s)
	}
	return err
}

// watch is a connection through the virtual address that stays open.
type watch struct {
	server string
	ended  chan struct{}
}

func openWatch(ctx context.Context) (*watch, error) {
	// The kernel tells the end of a connection to whoever sends over it. A client that only listens does so by these probes.
	probes := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5}}
	client := &http.Client{Transport: &http.Transport{
		DialContext: probes.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(vip, port)+"/watch", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	server, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	w := &watch{strings.TrimSpace(server), make(chan struct{})}
	go func() {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		close(w.ended)
	}()
	return w, nil
}

func (w *watch) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// expectDrained removes the last server from the list while a watch is open to each.
func expectDrained(ctx context.Context, k *keeper, all []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the watches that stay
	watches := map[string]*watch{}
	for range 4 * len(all) {
		w, err := openWatch(ctx)
		if err != nil {
			return fmt.Errorf("open a watch: %w", err)
		}
		watches[w.server] = w
	}
	if len(watches) != len(all) {
		return fmt.Errorf("watches at %v only", watches)
	}
	stay, gone := all[:len(all)-1], watches[all[len(all)-1]]
	k.tell(stay...)
	if err := k.confirm(ctx, stay...); err != nil {
		return err
	}
	began := time.Now()
	if err := expectSpread(ctx, stay); err != nil {
		return err
	}
	for !gone.over() {
		if time.Since(began) > drain+15*time.Second {
			return errors.New("the connection to the removed server is still open")
		}
		if err := pause(ctx, interval/10); err != nil {
			return err
		}
	}
	if took := time.Since(began); took < drain-2*interval {
		return fmt.Errorf("the connection to the removed server had %s only", took)
	}
	for _, s := range stay {
		if watches[s].over() {
			return fmt.Errorf("the connection to %s, which stays, ended", s)
		}
	}
	if err := expectServers(stay...); err != nil {
		return err
	}
	k.tell(all...)
	return errors.Join(k.confirm(ctx, all...), expectSpread(ctx, all))
}
