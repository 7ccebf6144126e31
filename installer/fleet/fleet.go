// Package fleet is the hosts of a run: how they are reached, what each of them is asked, the lock that keeps two installers
// apart, the stub that is brought to them, and how work is done on many at once.
package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Options say how the hosts of a run are worked with. The run only reads them.
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

// Fleet is the hosts of a run, in the order of the cluster.
type Fleet struct {
	Options
	Targets []*Target
	// Leaving are hosts that the run takes out of the cluster. They are reached, locked and looked at like Targets, and are
	// none of them: what is done to the hosts of the cluster is not done to these.
	Leaving []*Target
	// Dial opens the connection to a host.
	Dial func(context.Context, *Target) (host.Host, error)

	created time.Time
	locks   locks
	held    bool // another installer has the lock
	jumps   jumps
}

// New gives the fleet of the hosts of a cluster that are not away, and of those that leave it. It contacts none.
func New(o Options, hosts, leaving []installer.Host) *Fleet {
	f := &Fleet{Options: o, created: time.Now()}
	f.Dial = f.dialHost
	for _, h := range hosts {
		if !h.Away {
			f.Targets = append(f.Targets, &Target{Host: h})
		}
	}
	for _, h := range leaving {
		f.Leaving = append(f.Leaving, &Target{Host: h})
	}
	return f
}

// All are the hosts of the run, those that leave included.
func (f *Fleet) All() []*Target { return slices.Concat(f.Targets, f.Leaving) }

// Close gives the locks of the cluster back, and ends the connections to all hosts.
func (f *Fleet) Close() error {
	f.Unlock()
	var errs []error
	for _, t := range f.All() {
		if t.Link != nil {
			errs = append(errs, t.Link.Close())
		}
	}
	return errors.Join(append(errs, f.jumps.close())...)
}

// Each runs fn on all targets, on at most jobs of them at once, and joins the errors of all hosts. After the context has
// ended it begins no more; the hosts left over get the cause as their error.
func Each(ctx context.Context, targets []*Target, jobs int, fn func(context.Context, *Target) error) error {
	slots := make(chan struct{}, max(1, jobs))
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done(): // those that have a slot may take long to end
			}
			err := context.Cause(ctx)
			if err == nil {
				err = fn(ctx, t)
			}
			errs[i] = t.Failed(err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Masters are the hosts of the run with an API server.
func (f *Fleet) Masters() []*Target { return Only(f.Targets, func(t *Target) bool { return t.Master }) }

// Workers are the hosts of the run without one.
func (f *Fleet) Workers() []*Target {
	return Only(f.Targets, func(t *Target) bool { return !t.Master })
}

// Master0 is the master that represents the cluster: the first one that is in it, or the first host while there is none.
func (f *Fleet) Master0() *Target {
	if i := slices.IndexFunc(f.Targets, func(t *Target) bool { return t.Master && t.InCluster() }); i >= 0 {
		return f.Targets[i]
	}
	return f.Targets[0]
}

// OtherMasters are the masters of the run without master0.
func (f *Fleet) OtherMasters() []*Target {
	first := f.Master0()
	return Only(f.Targets, func(t *Target) bool { return t.Master && t != first })
}

// Only gives those of some targets for which is holds, in their order.
func Only(targets []*Target, is func(*Target) bool) []*Target {
	return slices.DeleteFunc(slices.Clone(targets), func(t *Target) bool { return !is(t) })
}

// Each is [Each] with as many hosts at once as the run works on, and tells which are at work. It does nothing once a lock is lost.
func (f *Fleet) Each(ctx context.Context, targets []*Target, fn func(context.Context, *Target) error) error {
	if err := f.Lost(); err != nil {
		return err
	}
	return f.each(ctx, targets, f.Jobs, fn)
}

func (f *Fleet) each(ctx context.Context, targets []*Target, jobs int, fn func(context.Context, *Target) error) error {
	if len(targets) == 0 {
		return nil
	}
	if ctx.Value(atWork{}) == nil { // what a host does with others, such as telling workers of a master, is still about that host
		f.Report.About(Names(targets))
		ctx = context.WithValue(ctx, atWork{}, true)
	}
	return Each(ctx, targets, jobs, func(ctx context.Context, t *Target) error {
		work := f.Report.Does(t.IP.String(), "", 0)
		err := fn(ctx, t)
		work.End(err)
		return err
	})
}

// atWork is the key of contexts of work on hosts.
type atWork struct{}

// Names are the addresses of targets.
func Names(targets []*Target) []string {
	out := make([]string, len(targets))
	for i, t := range targets {
		out[i] = t.IP.String()
	}
	return out
}

// Count runs fn on targets as [Fleet.Each] does, and adds up how many changes it made, those of hosts where it failed included. It
// tells of each host how many there were.
func (f *Fleet) Count(ctx context.Context, targets []*Target, fn func(context.Context, *Target) (changes int, err error)) (int, error) {
	return f.Sum(ctx, targets, func(ctx context.Context, t *Target) (int, error) {
		n, err := fn(ctx, t)
		f.Changed(t, n)
		return n, err
	})
}

// Sum is [Fleet.Count] for what is a part of a change that somebody else counts: it tells of none.
func (f *Fleet) Sum(ctx context.Context, targets []*Target, fn func(context.Context, *Target) (changes int, err error)) (int, error) {
	var all atomic.Int64
	err := f.Each(ctx, targets, func(ctx context.Context, t *Target) error {
		n, err := fn(ctx, t)
		all.Add(int64(n))
		return err
	})
	return int(all.Load()), err
}

// Changed tells that so many things were changed on a host. Who counts by [Fleet.Count] has told so.
func (f *Fleet) Changed(t *Target, n int) { f.Report.Changed(t.IP.String(), n) }
