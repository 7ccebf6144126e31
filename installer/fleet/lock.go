package fleet

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

// LockPath is on a file system that does not outlive the host's uptime.
func (f *Fleet) LockPath() string { return "/run/sealos-" + f.Cluster + ".lock" }

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

// LockMasters takes the locks of all masters that are reached, always in the
// same order: of two installers that have one master in common one gets all of
// its locks, or none. held tells that another installer is at work; else a
// problem is that a lock cannot be had at all.
func (f *Fleet) LockMasters(ctx context.Context) (problems []preflight.Problem, held bool) {
	name, err := os.Hostname()
	if err != nil {
		name = "a machine without a name"
	}
	holder := fmt.Sprintf("process %d on %s since %s", os.Getpid(), name, f.created.UTC().Format("2006-01-02T15:04:05.000Z"))
	masters := slices.DeleteFunc(slices.Clone(f.Masters()), func(t *Target) bool { return !t.Connected })
	slices.SortFunc(masters, func(a, b *Target) int { return a.IP.Compare(b.IP) })
	// Until Close: what records the outcome of a run that was interrupted is under the lock, too.
	waiting, done := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("the lock was not to be had in %s (--timeout)", f.Timeout))
	defer done()
	ctx, f.locks.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.locks.held = map[*Target]*agent.Lock{}
	for _, t := range masters {
		l, err := f.lockPatiently(waiting, ctx, t, holder, name)
		var answered *agent.Error
		if errors.As(err, &answered) && answered.Code == agent.CodeLocked && answered.Message == holder {
			continue // one machine under two addresses, which the check tells
		}
		if err != nil {
			f.Unlock()
			f.held = errors.As(err, &answered) && answered.Code == agent.CodeLocked
			return []preflight.Problem{lockProblem(t, f.Cluster, err)}, f.held
		}
		f.locks.mu.Lock()
		f.locks.held[t] = l
		f.locks.mu.Unlock()
		f.locks.keep.Go(func() { f.keepLock(ctx, t, l, holder) })
	}
	return nil, false
}

// Held gives a context for the steps that ends when the lock of the cluster is
// lost to another installer: what is under way must not go on beside it.
func (f *Fleet) Held(ctx context.Context) context.Context {
	ctx, f.locks.stop = context.WithCancelCause(ctx)
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
func (f *Fleet) lockPatiently(waiting, held context.Context, t *Target, holder, here string) (*agent.Lock, error) {
	began, told := time.Now(), false
	for {
		l, err := f.askForLock(waiting, held, t, holder)
		var answered *agent.Error
		if !errors.As(err, &answered) || answered.Code != agent.CodeLocked || answered.Message == holder {
			return l, err
		}
		patience := lockMoment
		if isDead(answered.Message, here) {
			patience = lockOfADead
			if !told {
				f.Report.Infof("%s: waiting until the host notices that %s has ended", t.IP, answered.Message)
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
func (f *Fleet) askForLock(waiting, held context.Context, t *Target, holder string) (*agent.Lock, error) {
	waiting, done := context.WithTimeoutCause(waiting, lockAnswer, &agent.Error{
		Code: agent.CodeTimeout, Message: fmt.Sprintf("the installer's agent on the host hangs: no answer for %s", lockAnswer),
		Remedy: "look what keeps the host from answering: its load, a disk that does not answer, a process `sealinstall node lock` that is stuck",
	})
	defer done()
	return t.Agent.LockAsking(waiting, held, f.LockPath(), holder)
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
func (f *Fleet) keepLock(ctx context.Context, t *Target, l *agent.Lock, holder string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.Lost():
		}
		f.locks.mu.Lock()
		closed := f.locks.closed
		f.locks.mu.Unlock()
		if closed {
			return
		}
		for end := time.Now().Add(relockPatience); ; {
			var err error
			if l, err = f.askForLock(ctx, ctx, t, holder); err == nil {
				break
			}
			var answered *agent.Error
			other := errors.As(err, &answered) && answered.Code == agent.CodeLocked && answered.Message != holder
			if other || time.Now().After(end) {
				p := lockProblem(t, f.Cluster, err)
				f.locks.mu.Lock()
				f.locks.lost = fmt.Errorf("%s: %w: %s (%s)", p.Host, ErrLockLost, p.Message, p.Remedy)
				if f.locks.stop != nil {
					f.locks.stop(f.locks.lost)
				}
				f.locks.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
		f.locks.mu.Lock()
		if closed = f.locks.closed; !closed {
			f.locks.held[t] = l
		}
		f.locks.mu.Unlock()
		if closed {
			l.Release()
			return
		}
	}
}

// Occupied notes that another installer has the lock of the cluster: what it may have brought to hosts stays there.
func (f *Fleet) Occupied() { f.held = true }

// Lost is why no more work may begin, if so.
func (f *Fleet) Lost() error {
	f.locks.mu.Lock()
	defer f.locks.mu.Unlock()
	return f.locks.lost
}

// Unlock gives all locks back.
func (f *Fleet) Unlock() {
	if f.locks.cancel == nil {
		return
	}
	f.locks.mu.Lock()
	held := f.locks.held
	f.locks.held, f.locks.closed = nil, true
	f.locks.mu.Unlock()
	var all sync.WaitGroup // a host that hangs is waited for a while, and not once more for each
	for _, l := range held {
		all.Go(l.Release)
	}
	all.Wait()
	f.locks.cancel()
	f.locks.keep.Wait() // one may have taken its lock just now
}
