package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run in a host, or on the bed's network.
type Command struct {
	Argv   []string
	Env    []string // in addition to PATH, HOME and LANG
	Dir    string
	Stdin  io.Reader
	Stdout io.Writer // nil: kept in Result.Stdout
	Stderr io.Writer // nil: kept in Result.Stderr
}

// Result is what a finished command leaves.
type Result struct {
	Stdout, Stderr string
	Code           int // exit status; -1 when a signal ended it
	Elapsed        time.Duration
	// MaxRSS is the peak resident memory in bytes of the largest process among
	// the command and the children it waited for. It is never less than that of
	// the calling process: the kernel counts the moment between fork and exec.
	MaxRSS int64
}

const execPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec runs argv inside the host as root. It does not go through sshd, so it
// also works on a host that a test cut off. An exit status other than 0 is an error.
func (h *Host) Exec(ctx context.Context, argv ...string) (Result, error) {
	return h.Run(ctx, Command{Argv: argv})
}

// Run is Exec with everything that can be set. ctx ending kills the command.
func (h *Host) Run(ctx context.Context, c Command) (Result, error) {
	if h.run == nil {
		return Result{}, fmt.Errorf("%s has no power", h.Name)
	}
	procs, err := cgroupProcsFiles(h.cgroup)
	if err != nil {
		return Result{}, err
	}
	// Into the host's cgroups first, so that a power-off takes the command along.
	// Inside, env clears what belongs to this machine.
	const enter = `for f in $CGROUPS; do echo $$ > "$f" || echo $$ > "${f%/*}/init.scope/cgroup.procs"; done 2>/dev/null; exec "$@"`
	dir := c.Dir
	if dir == "" {
		dir = "/root"
	}
	argv := []string{
		"-c", enter, "enter", "nsenter", "--target", strconv.Itoa(h.run.init), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wd=/", "env", "-i", "--chdir=" + dir, execPath, "HOME=/root", "LANG=C.UTF-8",
	}
	argv = append(append(argv, c.Env...), c.Argv...)
	cmd := exec.CommandContext(ctx, "sh", argv...)
	cmd.Env = append(os.Environ(), "CGROUPS="+strings.Join(procs, " "))
	res, err := finish(ctx, cmd, c)
	if err != nil {
		return res, fmt.Errorf("%s: %w", h.Name, err)
	}
	return res, nil
}

// Run runs a command of this machine on the bed's network, where it sees
// nothing but the hosts: the place of whoever runs the installer. Its
// nameserver refuses every query.
func (b *Bed) Run(ctx context.Context, c Command) (Result, error) {
	cmd := b.operatorCommand(ctx, c)
	return finish(ctx, cmd, c)
}

func (b *Bed) operatorCommand(ctx context.Context, c Command) *exec.Cmd {
	const enter = `for f in resolv.conf hosts; do [ ! -e /etc/$f ] || mount --bind "$OPERATOR/$f" /etc/$f; done
mount -t sysfs sysfs /sys 2>/dev/null || true
unset OPERATOR
exec "$@"`
	argv := append([]string{"--net=" + b.NetnsPath(), "sh", "-c", enter, "operator"}, c.Argv...)
	cmd := exec.CommandContext(ctx, "nsenter", argv...)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), "OPERATOR="+filepath.Join(b.Dir, "operator")), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

func (b *Bed) writeOperatorFiles() error {
	dir := filepath.Join(b.Dir, "operator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver "+refusingDNSAddr+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "hosts"), []byte("127.0.0.1 localhost\n"+gatewayAddr+" operator\n"), 0o644))
}

func finish(ctx context.Context, cmd *exec.Cmd, c Command) (Result, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own, so that ending it ends its children too.
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	start := time.Now()
	err := cmd.Run()
	res := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: -1, Elapsed: time.Since(start)}
	if cmd.ProcessState != nil {
		res.Code = cmd.ProcessState.ExitCode()
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			res.MaxRSS = u.Maxrss << 10 // the kernel counts KiB
		}
	}
	return res, commandError(ctx, c.Argv, err, res.Stderr)
}

// Dial connects to an address on the bed's network, from where the installer runs.
func (b *Bed) Dial(ctx context.Context, address string) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	ch := make(chan answer, 1)
	go func() {
		// A thread that entered another namespace must not serve other goroutines:
		// it stays locked, and ends with this one.
		runtime.LockOSThread()
		ns, err := os.Open(b.NetnsPath())
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			ch <- answer{err: fmt.Errorf("enter the bed's network: %w", err)}
			return
		}
		d := net.Dialer{Timeout: 5 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", address)
		ch <- answer{conn, err}
	}()
	a := <-ch
	return a.conn, a.err
}
