package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// The lock of a cluster lies on its masters, so that installers on different
// machines see each other; the one of the state directory tells sooner, but on
// one machine only. It is gone after a reboot, and held by nobody but a process
// that lives: see [node.Agent.Lock].

// lockPath is on a file system that does not outlive the host's uptime.
func (r *Run) lockPath() string { return "/run/sealos-" + r.Cluster.Name + ".lock" }

// locks are those that a run holds.
type locks struct {
	mu     sync.Mutex
	held   map[*Target]*agent.Lock
	lost   error // why the run must not go on
	closed bool  // they have been given back: a lock that ends now is not lost
	cancel context.CancelFunc
	stop   context.CancelCauseFunc // ends the steps; nil when nobody asked
	keep   sync.WaitGroup          // of those that take a lost lock again
}

// lockMasters takes the locks of all masters that are reached, always in the
// same order: of two installers that have one master in common one gets all of
// its locks, or none. held tells that another installer is at work; else a
// problem is that a lock cannot be had at all.
func (r *Run) lockMasters(ctx context.Context) (problems []preflight.Problem, held bool) {
	name, err := os.Hostname()
	if err != nil {
		name = "a machine without a name"
	}
	holder := fmt.Sprintf("process %d on %s since %s", os.Getpid(), name, r.created.UTC().Format("2006-01-02T15:04:05.000Z"))
	masters := slices.DeleteFunc(slices.Clone(r.masters()), func(t *Target) bool { return !t.connected })
	slices.SortFunc(masters, func(a, b *Target) int { return a.IP.Compare(b.IP) })
	// Until Close: what records the outcome of a run that was interrupted is under the lock, too.
	waiting, done := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the lock was not to be had in %s (--timeout)", r.Timeout))
	defer done()
	ctx, r.locks.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.locks.held = map[*Target]*agent.Lock{}
	for _, t := range masters {
		l, err := r.lockPatiently(waiting, ctx, t, holder, name)
		var answered *agent.Error
		if errors.As(err, &answered) && answered.Code == agent.CodeLocked && answered.Message == holder {
			continue // one machine under two addresses, which the check tells
		}
		if err != nil {
			r.unlock()
			return []preflight.Problem{lockProblem(t, r.Cluster.Name, err)}, errors.As(err, &answered) && answered.Code == agent.CodeLocked
		}
		r.locks.mu.Lock()
		r.locks.held[t] = l
		r.locks.mu.Unlock()
		r.locks.keep.Go(func() { r.keepLock(ctx, t, l, holder) })
	}
	return nil, false
}

// Held gives a context for the steps that ends when the lock of the cluster is
// lost to another installer: what is under way must not go on beside it.
func (r *Run) Held(ctx context.Context) context.Context {
	ctx, r.locks.stop = context.WithCancelCause(ctx)
	return ctx
}

// How long a lock that another one holds is asked for: a connection that ended
// is noticed at once on most hosts, and after half a minute on all of them.
const (
	lockMoment  = 500 * time.Millisecond
	lockOfADead = 40 * time.Second
)

// lockPatiently waits for a lock whose holder has just ended: the one that was
// killed before the same command was run again. It waits no longer than waiting
// lasts, and the lock it gets lasts as long as held.
func (r *Run) lockPatiently(waiting, held context.Context, t *Target, holder, here string) (*agent.Lock, error) {
	began, told := time.Now(), false
	for {
		l, err := r.askForLock(waiting, held, t, holder)
		var answered *agent.Error
		if !errors.As(err, &answered) || answered.Code != agent.CodeLocked || answered.Message == holder {
			return l, err
		}
		patience := lockMoment
		if isDead(answered.Message, here) {
			patience = lockOfADead
			if !told {
				r.Report.Infof("%s: waiting until the host notices that %s has ended", t.IP, answered.Message)
			}
			told = true
		}
		if time.Since(began) > patience {
			return nil, err
		}
		select {
		case <-waiting.Done():
			return nil, context.Cause(waiting)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lockAnswer is how long a host may take to say whether the lock is free: it has nothing to wait for.
const lockAnswer = 20 * time.Second

// askForLock asks once, and no longer than waiting lasts. A host whose agent does not answer is not waited for.
func (r *Run) askForLock(waiting, held context.Context, t *Target, holder string) (*agent.Lock, error) {
	waiting, done := context.WithTimeoutCause(waiting, lockAnswer, &agent.Error{
		Code: agent.CodeTimeout, Message: fmt.Sprintf("the installer's agent on the host hangs: no answer for %s", lockAnswer),
		Remedy: "look what keeps the host from answering: its load, a disk that does not answer, a process `sealinstall node lock` that is stuck",
	})
	defer done()
	return t.Agent.LockAsking(waiting, held, r.lockPath(), holder)
}

// isDead tells that a holder is a process of this machine that is no more.
func isDead(holder, here string) bool {
	var pid int
	var on string
	if _, err := fmt.Sscanf(holder, "process %d on %s since", &pid, &on); err != nil || on != here || pid <= 0 {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func lockProblem(t *Target, cluster string, err error) preflight.Problem {
	p := preflight.Problem{Host: t.IP.String(), Check: "lock", Message: installer.TellAt(err, t.IP.String()), Remedy: "see the cause"}
	var answered *agent.Error
	if errors.As(err, &answered) && answered.Code == agent.CodeTimeout {
		p.Message, p.Remedy = answered.Message, answered.Remedy
	}
	if errors.As(err, &answered) && answered.Code == agent.CodeLocked {
		p.Message = fmt.Sprintf("cluster %s is being worked on by another sealinstall (%s)", cluster, answered.Message)
		p.Remedy = "wait for it or stop it; the lock of one that died ends by itself within half a minute"
	}
	return p
}

// ErrLockLost is in the error of a run that was ended because another installer has the lock of the cluster by now.
var ErrLockLost = errors.New("the lock of the cluster was lost")

// relockPatience is how long a lock that was lost is asked for again: longer
// than the host holds the old one for a connection that is gone.
const relockPatience = time.Minute

// keepLock takes a lock again that was lost with its connection. If somebody
// else has it by then, the run ends: two must not work on one cluster.
func (r *Run) keepLock(ctx context.Context, t *Target, l *agent.Lock, holder string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.Lost():
		}
		r.locks.mu.Lock()
		closed := r.locks.closed
		r.locks.mu.Unlock()
		if closed {
			return
		}
		for end := time.Now().Add(relockPatience); ; {
			var err error
			if l, err = r.askForLock(ctx, ctx, t, holder); err == nil {
				break
			}
			var answered *agent.Error
			other := errors.As(err, &answered) && answered.Code == agent.CodeLocked && answered.Message != holder
			if other || time.Now().After(end) {
				p := lockProblem(t, r.Cluster.Name, err)
				r.locks.mu.Lock()
				r.locks.lost = fmt.Errorf("%s: %w: %s (%s)", p.Host, ErrLockLost, p.Message, p.Remedy)
				if r.locks.stop != nil {
					r.locks.stop(r.locks.lost)
				}
				r.locks.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
		r.locks.mu.Lock()
		if closed = r.locks.closed; !closed {
			r.locks.held[t] = l
		}
		r.locks.mu.Unlock()
		if closed {
			l.Release()
			return
		}
	}
}

// lostLock is why no more work may begin, if so.
func (r *Run) lostLock() error {
	r.locks.mu.Lock()
	defer r.locks.mu.Unlock()
	return r.locks.lost
}

// unlock gives all locks back.
func (r *Run) unlock() {
	if r.locks.cancel == nil {
		return
	}
	r.locks.mu.Lock()
	held := r.locks.held
	r.locks.held, r.locks.closed = nil, true
	r.locks.mu.Unlock()
	var all sync.WaitGroup // a host that hangs is waited for a while, and not once more for each
	for _, l := range held {
		all.Go(l.Release)
	}
	all.Wait()
	r.locks.cancel()
	r.locks.keep.Wait() // one may have taken its lock just now
}
