package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay is how long to wait for output after a command has ended: a program that it left in the background may hold the
// pipes open for ever.
const outputDelay = 10 * time.Second

type localHost struct {
	name, password string

	mu   sync.Mutex
	root *rootAccess
}

// Local is this machine, without ssh. Commands run as the user of this process.
func Local(name string) Host { return LocalSudo(name, "") }

// LocalSudo is [Local] with the password that sudo gets if it asks for one.
func LocalSudo(name, password string) Host { return &localHost{name: name, password: password} }

func (h *localHost) Name() string { return h.name }

// Close does nothing: there is no connection.
func (h *localHost) Close() error { return nil }

func (h *localHost) Run(ctx context.Context, c Cmd) error {
	if len(c.Argv) == 0 {
		return fmt.Errorf("%s: run: no command", h.name)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", h.name, c.Argv[0], context.Cause(ctx))
	}
	argv, dir, env, m := c.Argv, c.Dir, c.Env, newMark()
	marked := false
	if c.Root && os.Geteuid() != 0 {
		access, err := h.asRoot(ctx)
		if err != nil {
			return err
		}
		argv, c.Stdin = access.command(c, m)
		dir, env, marked = "", nil, true
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if len(env) > 0 {
		cmd.Env = append(cmd.Environ(), env...)
	}
	// It has a process group of its own, so that its children can be ended with it, and Ctrl-C does not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputDelay
	streams := newStreams(c)
	defer streams.close()
	cmd.Stdout, cmd.Stderr = streams.stdout, streams.stderr
	if marked {
		streams.expect(m)
		cmd.Stdout = streams.out
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", h.name, c.Argv[0], err)
	}
	if err := cmd.Start(); err != nil {
		return h.startError(c, err)
	}
	return h.wait(ctx, c, cmd, streams, stdin)
}

// asRoot finds out once how to be root.
func (h *localHost) asRoot(ctx context.Context) (*rootAccess, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.root == nil {
		access, err := probeRoot(ctx, h, os.Getenv("USER"), h.password)
		if err != nil {
			return nil, err
		}
		h.root = access
	}
	return h.root, nil
}

func (h *localHost) wait(ctx context.Context, c Cmd, cmd *exec.Cmd, st *streams, stdin io.WriteCloser) error {
	ended := make(chan error, 1)
	failed := st.pump(stdin)
	go func() { ended <- cmd.Wait() }()
	over, cause := await(ctx, failed, ended)
	if over {
		return h.outcome(c, st, cause)
	}
	group := -cmd.Process.Pid
	unix.Kill(group, unix.SIGTERM)
	select {
	case <-ended:
		unix.Kill(group, unix.SIGKILL) // those of its children that stayed
	case <-time.After(grace):
		unix.Kill(group, unix.SIGKILL)
		select {
		case <-ended:
		case <-time.After(grace): // in an uninterruptible wait, or its output held by a child in another group
		}
	}
	return fmt.Errorf("%s: %s: %w", h.name, c.Argv[0], cause)
}

// startError gives a program that cannot be run the exit status a shell would give it, as over ssh.
func (h *localHost) startError(c Cmd, err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	return &ExitError{Host: h.name, Title: c.Title, Argv: c.Argv, Code: code, Stderr: err.Error()}
}

func (h *localHost) outcome(c Cmd, st *streams, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ok:
		e := &ExitError{Host: h.name, Title: c.Title, Argv: c.Argv, Code: exit.ExitCode(), Stderr: st.tail.String()}
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = strings.TrimPrefix(unix.SignalName(ws.Signal()), "SIG")
		}
		return e
	}
	return fmt.Errorf("%s: %s: take its output: %w", h.name, c.Argv[0], err)
}
