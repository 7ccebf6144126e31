package verbs

import (
	"context"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// Both ends watch a call that moves bytes. The installer ends one in which nothing moves (see [host.WatchTransfer]): no bytes
// that this process takes, no answers, and no signs of life, which it gives while it works. This process ends itself when
// nothing comes for as long as silence: the installer is gone, or its line is dead.
const (
	lifeBeat = 10 * time.Second
	silence  = 3 * time.Minute // several times as long as the installer waits, whose message says more
)

// beatWhile gives signs of life while a verb works, until stop is called. It gives none while moves says that nothing moves, as
// on a disk that hangs, or while waiting says that the verb waits for the installer.
func (a *answers) beatWhile(ctx context.Context, every time.Duration, moves func() bool, waiting func() bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range wait.Every(ctx, every) {
			if moved := moves(); moved && !waiting() && a.send(agent.Answer{Alive: true}) != nil {
				return // nobody listens
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// awaited is the input of a verb that reads after its request. If patience is set, a sender that is silent for longer is an error.
type awaited struct {
	r        io.Reader
	end      io.Closer // ends a read that waits
	patience time.Duration
	reading  atomic.Bool // a read waits
	silent   atomic.Bool // the sender was, for too long
}

func (a *awaited) Read(p []byte) (int, error) {
	a.reading.Store(true)
	if a.patience > 0 {
		timer := time.AfterFunc(a.patience, func() {
			a.silent.Store(true)
			_ = a.end.Close()
		})
		defer timer.Stop()
	}
	n, err := a.r.Read(p)
	a.reading.Store(false)
	if err != nil && a.silent.Load() {
		return n, &agent.Error{Code: agent.CodeCut, Message: "nothing came from the installer for " + a.patience.String()}
	}
	return n, err
}

// pulse tells whether this process or the disks of the host do anything.
type pulse struct {
	cpu   time.Duration
	disks string
}

// cpuOfIdle is more time than an idle process uses between two calls of moves.
const cpuOfIdle = 20 * time.Millisecond

// moves tells whether anything was done since its last call.
func (p *pulse) moves() bool {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return true
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	disks, err := os.ReadFile("/proc/diskstats")
	moved := cpu-p.cpu > cpuOfIdle || err != nil || string(disks) != p.disks
	p.cpu, p.disks = cpu, string(disks)
	return moved
}
