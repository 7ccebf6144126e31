package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
)

const (
	// grace is the time between SIGTERM and SIGKILL. Package host waits a little longer for this process.
	grace = 2 * time.Second
	// idle is how long to wait for more output after a command has ended: a program that it left in the background may keep the
	// pipe open.
	idle     = 500 * time.Millisecond
	lastWait = 5 * time.Second
)

// process is a command in a process group of its own, with one pipe for each of its outputs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// run runs a command to its end and gives its exit status. Its output goes to take as it comes: to one function for both
// outputs, or to one each for stdout and stderr. An error of one of them, to which nobody listens any more, ends the command.
// name and argv are for the errors of a command that does not start.
func run(ctx context.Context, cmd *exec.Cmd, name string, argv []string, take ...func([]byte) error) (code int, err error) {
	readers, writers := make([]*os.File, len(take)), make([]*os.File, len(take))
	for i := range take {
		if readers[i], writers[i], err = os.Pipe(); err != nil {
			return 0, fmt.Errorf("run %s: %w", name, err)
		}
	}
	cmd.Stdout, cmd.Stderr = writers[0], writers[len(take)-1]
	p, err := start(cmd)
	for _, w := range writers {
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		for _, r := range readers {
			r.Close()
		}
		return 0, startError(argv, cmd.Dir, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	for i, r := range readers {
		reading.Go(func() {
			if readOutput(r, p.ended, take[i]) != nil {
				cancel(agent.ErrCut)
			}
		})
	}
	err = p.wait(ctx)
	reading.Wait()
	return p.code(), err
}

// start runs a command that writes to the files given. The kernel kills it if this process is killed.
func start(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal is that of the thread that made the child: it has to stay till the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// wait waits for the end of the command. When the context ends it ends the whole process group.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-p.ended: // it ended just before, and did its work
		return nil
	default:
	}
	group := -p.cmd.Process.Pid
	unix.Kill(group, unix.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(grace):
	}
	unix.Kill(group, unix.SIGKILL)
	<-p.ended
	return context.Cause(ctx)
}

// code is the exit status as a shell gives it.
func (p *process) code() int {
	exit, ok := errors.AsType[*exec.ExitError](p.err)
	if !ok {
		return 0
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// readOutput hands what a command writes to take, until the pipe's end; or, once the command has
// ended, until nothing comes any more.
func readOutput(r *os.File, ended <-chan struct{}, take func([]byte) error) error {
	defer r.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ended:
			r.SetReadDeadline(time.Now().Add(idle)) // wakes a read that waits
		case <-done:
		}
	}()
	var last time.Time
	buf := make([]byte, 32<<10)
	for {
		select {
		case <-ended:
			if last.IsZero() {
				last = time.Now().Add(lastWait)
			}
			if time.Now().After(last) {
				return nil
			}
			r.SetReadDeadline(time.Now().Add(idle))
		default:
		}
		n, err := r.Read(buf)
		if n > 0 {
			if err := take(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil { // the end, or nothing more came in time
			return nil
		}
	}
}

// startError says why a program could not be run.
func startError(argv []string, dir string, err error) error {
	e := &agent.Error{Message: fmt.Sprintf("run %s: %v", argv[0], err)}
	if errors.Is(err, exec.ErrNotFound) {
		e.Code, e.Remedy = agent.CodeMissing, "install the package that has "+argv[0]
	}
	if dir != "" {
		if _, bad := os.Stat(dir); bad != nil {
			e.Message, e.Remedy = fmt.Sprintf("run %s in %s: %v", argv[0], dir, bad), ""
		}
	}
	return e
}
