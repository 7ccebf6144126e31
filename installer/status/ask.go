package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/site"
)

// ErrCannotAsk means that no host has answered, so that nothing can be said of the cluster.
var ErrCannotAsk = errors.New("the cluster cannot be asked: none of its hosts answers")

// Limits of asking. A site of up to fewHosts hosts is asked within the first of them; each host more adds a little, since this
// machine does the work of all connections.
const (
	limit     = 2800 * time.Millisecond
	limitMore = 30 * time.Millisecond
	limitMost = 9 * time.Second
	fewHosts  = 20
	reach     = 2500 * time.Millisecond // to log in to a host, of the first limit
	grace     = 150 * time.Millisecond  // for calls to end that were cut at the limit
	atOnce    = 256                     // hosts
)

// Limit is how long asking a site of so many hosts takes at most.
func Limit(hosts int) time.Duration {
	return min(limitMost, limit+limitMore*time.Duration(max(0, hosts-fewHosts)))
}

// Room asks the cluster of a site. It leaves the targets of the site as they are.
type Room struct {
	*site.Site
	State  *installer.State // where the figures of earlier disks are kept
	Within time.Duration    // in place of [Limit], for slow lines
}

// Ask gives the answer after [Limit] at the latest. Hosts that do not answer are part of it; the only errors are that the bundle
// cannot be read, and that ctx ended.
func (r *Room) Ask(ctx context.Context) (Status, error) {
	r.Payload.OntoCluster = true // what the rootfs is, the record tells
	if err := r.Payload.Describe(r.Cluster); err != nil {
		return Status{}, err
	}
	within := cmp.Or(r.Within, Limit(len(r.Targets)))
	asking, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer for %.1f s", within.Seconds()))
	defer cancel()
	images := make(chan map[string]bool, 1)
	go func() { images <- r.bundleBlobs(asking) }()
	planes := make(chan kube.ControlPlane, len(r.Targets))
	told := make(chan cluster, 1)
	go func() { told <- r.askCluster(asking, planes, within) }()

	found := r.askHosts(asking, within, planes)
	a := all{hosts: found, at: time.Now()}
	a.cluster = <-told // it ends with the context
	select {
	case a.images = <-images:
	case <-asking.Done():
	}
	for _, h := range found {
		if h.t.Link != nil {
			_ = h.t.Link.Close() // nothing was left to send
		}
	}
	if ctx.Err() != nil {
		return Status{}, context.Cause(ctx)
	}
	s := r.judge(a)
	for _, text := range s.texts() {
		*text = r.Report.Mask(*text)
	}
	return s, nil
}

// askHosts asks all hosts, and tells of each master that can be asked about the cluster as soon as that is known. The answers are
// in the order of the targets. A call that does not end with its context is left behind.
func (r *Room) askHosts(ctx context.Context, within time.Duration, planes chan kube.ControlPlane) []*answers {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	patience := reach + max(0, within-limit)/2 // many logins at once take this machine its time
	slots := make(chan struct{}, atOnce)
	done := make(chan *answers, len(r.Targets))
	var masters sync.WaitGroup
	for _, t := range r.Targets {
		known := func(*answers) {}
		if t.Master {
			masters.Add(1)
			once := sync.OnceFunc(masters.Done)
			known = func(a *answers) {
				if a != nil && a.t.Joined() {
					planes <- r.ControlPlane(a.t)
				}
				once()
			}
		}
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			defer known(nil)
			a := r.askHost(ctx, patience, t, known)
			if ctx.Err() != nil && a.t.Link != nil { // it may come too late for anybody to take
				_ = a.t.Link.Close()
			}
			done <- a
		}()
	}
	go func() {
		masters.Wait()
		close(planes)
	}()
	found := make([]*answers, len(r.Targets))
	began := time.Now()
	var late, rest <-chan time.Time
	for got := 0; got < len(r.Targets); {
		select {
		case a := <-done:
			got++
			found[slices.IndexFunc(r.Targets, func(t *fleet.Target) bool { return t.IP == a.t.IP })] = a
			if e := time.Since(began); rest == nil && r.Within == 0 && got*10 >= len(r.Targets)*9 && got < len(r.Targets) {
				rest = time.After(max(limit, 2*e) - e) // what nine of ten hosts took is enough for the others, twice
			}
			continue
		case <-rest:
			stop(fmt.Errorf("no answer for %.1f s", time.Since(began).Seconds()))
			rest = nil
			continue
		case <-ctx.Done():
		}
		if late == nil {
			late = time.After(grace)
		}
		select {
		case a := <-done:
			got++
			found[slices.IndexFunc(r.Targets, func(t *fleet.Target) bool { return t.IP == a.t.IP })] = a
			continue
		case <-late:
		}
		break
	}
	for i, t := range r.Targets {
		if found[i] == nil {
			found[i] = &answers{t: &fleet.Target{Host: t.Host}, reach: fmt.Errorf("it hangs: %w", context.Cause(ctx))}
		}
	}
	return found
}
