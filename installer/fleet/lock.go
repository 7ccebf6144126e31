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

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// The lock of a cluster lies on its masters, so that installers on different machines see each other. The lock of the state
// directory is tried first, but keeps apart only runs on one machine. A lock on a host is gone after a reboot, and only a process
// that lives can hold it: see [agent.Agent.LockAsking].

// LockPath is the file of the lock on a host. Its file system is emptied when the host boots.
func (f *Fleet) LockPath() string {
	return "/run/sealos-" + f.Cluster + ".lock" //docs:file masters /run/sealos-<cluster>.lock: held while an installer works on the cluster; gone after a boot
}

// locks are the locks that a run holds.
type locks struct {
	mu     sync.Mutex
	held   map[*Target]*agent.Lock
	step   string          // at which the run works; empty before the first
	lost   error           // why the run must not go on; nil while it may
	closed bool            // the locks have been given back: one that ends now is not lost
	life   context.Context // of all locks; nil while the run takes none
	cancel context.CancelFunc
	stop   context.CancelCauseFunc // ends the steps; nil before [Fleet.Held]
	keep   sync.WaitGroup          // the goroutines that run keepLock
}

// LockMasters takes the locks of all masters that are reached, see [Fleet.LockThese]. They last until Close: the outcome of a run
// that was interrupted is recorded under them, too.
func (f *Fleet) LockMasters(ctx context.Context) (problems []preflight.Problem, held bool) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.locks.life, f.locks.cancel, f.locks.held = life, cancel, map[*Target]*agent.Lock{}
	return f.LockThese(ctx, f.All())
}

// LockThese takes the locks of those of some hosts that are masters and reached, in the order of their addresses: of two installers
// that have a master in common, one gets all of its locks, or none. held is true if another installer has a lock; then no lock is
// held here any more. Else the problems name the masters whose lock cannot be had at all, and those of the others are held.
func (f *Fleet) LockThese(ctx context.Context, hosts []*Target) (problems []preflight.Problem, held bool) {
	name, err := os.Hostname()
	if err != nil {
		name = "a machine without a name"
	}
	holder := fmt.Sprintf("process %d on %s since %s", os.Getpid(), name, f.created.UTC().Format("2006-01-02T15:04:05.000Z"))
	masters := Only(hosts, func(t *Target) bool { return t.Master && t.Connected && f.locks.life != nil }) // else the run takes no lock
	slices.SortFunc(masters, func(a, b *Target) int { return a.IP.Compare(b.IP) })
	waiting, done := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("the lock was not to be had in %s (--timeout)", f.Timeout))
	defer done()
	for _, t := range masters {
		l, err := f.lockPatiently(waiting, f.locks.life, t, holder, name)
		by, taken := heldBy(err)
		switch {
		case taken && by == holder: // one machine under two addresses: the check reports it
		case taken:
			f.Unlock()
			f.held = true
			return []preflight.Problem{lockProblem(t, f.Cluster, err)}, true
		case err != nil: // the run may go on without this one, and then needs the others' locks
			problems = append(problems, lockProblem(t, f.Cluster, err))
		default:
			f.locks.mu.Lock()
			f.locks.took(t, l)
			f.locks.mu.Unlock()
			f.locks.keep.Go(func() { f.keepLock(f.locks.life, t, l, holder) })
		}
	}
	return problems, false
}

// took notes a lock that the run has got, and tells the host at which step it works. The locks are locked.
func (l *locks) took(t *Target, lock *agent.Lock) {
	l.held[t] = lock
	if l.step != "" {
		lock.Say(l.step)
	}
}

// StepBegins tells every master that is locked at which step the run works, so that others can tell. The engine calls it.
func (f *Fleet) StepBegins(step string) {
	f.locks.mu.Lock()
	defer f.locks.mu.Unlock()
	f.locks.step = step
	for _, l := range f.locks.held {
		l.Say(step)
	}
}

// Held gives a context for the steps. It ends when another installer takes a lock that this run has lost: two must not work
// on one cluster.
func (f *Fleet) Held(ctx context.Context) context.Context {
	ctx, f.locks.stop = context.WithCancelCause(ctx)
	return ctx
}

// How long a lock is asked for that another installer holds. Most hosts notice at once that a connection has ended, all
// of them after half a minute.
const (
	lockMoment  = 500 * time.Millisecond
	lockOfADead = 40 * time.Second
)

// heldBy gives the holder of a lock, if err says that the lock is taken.
func heldBy(err error) (holder string, taken bool) {
	if answered, ok := errors.AsType[*agent.Error](err); ok && answered.Code == agent.CodeLocked {
		return answered.Message, true
	}
	return "", false
}

// lockPatiently takes a lock, and waits for one whose holder has just ended, such as a run that was killed before the same
// command was started again. It waits no longer than the context waiting lasts. The lock lasts as long as the context held.
func (f *Fleet) lockPatiently(waiting, held context.Context, t *Target, holder, here string) (*agent.Lock, error) {
	began, reported := time.Now(), false
	for {
		l, err := f.askForLock(waiting, held, t, holder)
		by, taken := heldBy(err)
		if !taken || by == holder {
			return l, err
		}
		patience := lockMoment
		if isDead(by, here) {
			patience = lockOfADead
			if !reported {
				f.Report.Infof("%s: waiting until the host notices that %s has ended", t.IP, by)
			}
			reported = true
		}
		if time.Since(began) > patience {
			return nil, err
		}
		if err := wait.For(waiting, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// lockAnswer is how long a host may take to say whether the lock is free: it has nothing to wait for.
const lockAnswer = 20 * time.Second

// askForLock asks for a lock once, for no longer than the context waiting lasts, and for [lockAnswer] at most.
func (f *Fleet) askForLock(waiting, held context.Context, t *Target, holder string) (*agent.Lock, error) {
	waiting, done := context.WithTimeoutCause(waiting, lockAnswer, &agent.Error{
		Code: agent.CodeTimeout, Message: fmt.Sprintf("the installer's agent on the host hangs: no answer for %s", lockAnswer),
		Remedy: "look what keeps the host from answering: its load, a disk that does not answer, a process `sealinstall node lock` that is stuck",
	})
	defer done()
	return t.Agent.LockAsking(waiting, held, f.LockPath(), holder)
}

// isDead tells whether the holder of a lock is a process of this machine that has ended.
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
	if answered, ok := errors.AsType[*agent.Error](err); ok && answered.Code == agent.CodeTimeout {
		p.Message, p.Remedy = answered.Message, answered.Remedy
	}
	if by, taken := heldBy(err); taken {
		p.Message = fmt.Sprintf("cluster %s is being worked on by another sealinstall (%s)", cluster, by)
		p.Remedy = "wait for it or stop it; the lock of one that died ends by itself within half a minute"
	}
	return p
}

// ErrLockLost is in the error of a run that ended because another installer has the lock of the cluster by now.
var ErrLockLost = errors.New("the lock of the cluster was lost")

// relockPatience is how long the run asks for a lock again that it lost: longer than the host keeps the old lock after its
// connection broke.
const relockPatience = time.Minute

// keepLock waits until the lock of a host is lost with its connection, and takes it again. If another installer has it by
// then, the run ends.
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
			by, taken := heldBy(err)
			if taken && by != holder || time.Now().After(end) {
				p := lockProblem(t, f.Cluster, err)
				f.locks.mu.Lock()
				f.locks.lost = fmt.Errorf("%s: %w: %s (%s)", p.Host, ErrLockLost, p.Message, p.Remedy)
				if f.locks.stop != nil {
					f.locks.stop(f.locks.lost)
				}
				f.locks.mu.Unlock()
				return
			}
			if wait.For(ctx, time.Second) != nil {
				return
			}
		}
		f.locks.mu.Lock()
		if closed = f.locks.closed; !closed {
			f.locks.took(t, l)
		}
		f.locks.mu.Unlock()
		if closed {
			l.Release()
			return
		}
	}
}

// Occupied notes that another installer has the lock of the cluster. What that one may have brought to hosts,
// [Fleet.Withdraw] leaves there.
func (f *Fleet) Occupied() { f.held = true }

// Lost gives the error for which no more work may begin; nil while it may.
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
	var all sync.WaitGroup // at once: several hosts that hang cost the time of one
	for _, l := range held {
		all.Go(l.Release)
	}
	all.Wait()
	f.locks.cancel()
	f.locks.keep.Wait() // keepLock may have taken a lock just now, and gives it back
}
