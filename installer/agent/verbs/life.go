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

// A call that moves bytes is watched from both ends. The installer ends one in which nothing moves (see
// [host.WatchTransfer]): bytes that the stub takes, its answers, and the signs of life it gives while it works, on a disk
// that is slow, say. A stub to which nothing comes for silence ends itself: the installer is gone, or its line is.
const (
	lifeBeat = 10 * time.Second
	silence  = 3 * time.Minute // several times what the installer waits: the end that knows more is to tell
)

// beatWhile gives signs of life while a verb works, until the function it returns is called. A machine on which nothing
// moves, since its disk hangs, gives none. waiting tells that it is the installer who is waited for.
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

// awaited is the input of a verb that reads on: whoever sends it may not be silent for longer than patience, if that is set.
type awaited struct {
	r        io.Reader
	end      io.Closer // ends a read that waits
	patience time.Duration
	reading  atomic.Bool // nothing is there yet
	silent   atomic.Bool // for too long
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

// pulse tells whether a machine does anything: this process, or its disks.
type pulse struct {
	cpu   time.Duration
	disks string
}

// cpuOfIdle is more than a process uses between two looks that does nothing but look.
const cpuOfIdle = 20 * time.Millisecond

// moves tells whether anything was done since it was asked last.
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
