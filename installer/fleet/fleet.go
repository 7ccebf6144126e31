// Package fleet is the hosts of a run: how they are reached, what each of them
// is asked, the lock that keeps two installers apart, the installer that is
// brought to them, and how work is done on many at once.
package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Options is how the hosts of a run are worked with. Everything in it is only read.
type Options struct {
	Cluster    string // name
	Payload    *payload.Payload
	Report     *installer.Reporter
	Jobs       int // hosts worked on at once
	HostKey    host.HostKeyPolicy
	KnownHosts string
	// AgentSocket is that of an ssh agent, and UserConfig the operator's own ssh configuration; both may be absent.
	AgentSocket string
	UserConfig  *host.UserConfig
	Timeout     time.Duration // of each script and each command
}

// Fleet are the hosts of a run, in the order of the cluster.
type Fleet struct {
	Options
	Targets []*Target
	// Dial opens the connection to a host.
	Dial func(context.Context, *Target) (host.Host, error)

	created time.Time
	locks   locks
	held    bool // another installer has the lock
	jumps   jumps
}

// New takes in the hosts of a cluster that are not away. It touches none.
func New(o Options, hosts []installer.Host) *Fleet {
	f := &Fleet{Options: o, created: time.Now()}
	f.Dial = f.dialHost
	for _, h := range hosts {
		if !h.Away {
			f.Targets = append(f.Targets, &Target{Host: h})
		}
	}
	return f
}

// Close gives back the cluster's lock and ends the connections to all hosts.
func (f *Fleet) Close() error {
	f.Unlock()
	var errs []error
	for _, t := range f.Targets {
		if t.Link != nil {
			errs = append(errs, t.Link.Close())
		}
	}
	return errors.Join(append(errs, f.jumps.close())...)
}

// Each runs fn on all targets, at most jobs at once, and keeps every host's error.
func Each(ctx context.Context, targets []*Target, jobs int, fn func(context.Context, *Target) error) error {
	if jobs < 1 {
		jobs = 1
	}
	slots := make(chan struct{}, jobs)
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := ctx.Err(); err != nil {
				errs[i] = &installer.HostError{Host: t.IP.String(), Err: context.Cause(ctx)}
				return
			}
			if err := fn(ctx, t); err != nil {
				errs[i] = &installer.HostError{Host: t.IP.String(), Err: err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Masters are the hosts with an API server.
func (f *Fleet) Masters() []*Target { return f.filter(true) }

// Workers are the others.
func (f *Fleet) Workers() []*Target { return f.filter(false) }

// Master0 is the master that speaks for the cluster: the first that is in it, and before there is one, the first.
func (f *Fleet) Master0() *Target {
	for _, t := range f.Targets {
		if t.Master && t.Looked && t.Joined() {
			return t
		}
	}
	return f.Targets[0]
}

// OtherMasters are those of this run but master0.
func (f *Fleet) OtherMasters() []*Target {
	first := f.Master0()
	return slices.DeleteFunc(f.Masters(), func(t *Target) bool { return t == first })
}

func (f *Fleet) filter(master bool) []*Target {
	var out []*Target
	for _, t := range f.Targets {
		if t.Master == master {
			out = append(out, t)
		}
	}
	return out
}

// Each runs fn on the given targets with the run's own concurrency.
func (f *Fleet) Each(ctx context.Context, targets []*Target, fn func(context.Context, *Target) error) error {
	if err := f.Lost(); err != nil {
		return err
	}
	return Each(ctx, targets, f.Jobs, fn)
}
