package build

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/containers/storage/pkg/reexec"
	"golang.org/x/sys/unix"
)

// Variables by which package unshare of containers/storage tells its child process what to do before Go code may run.
const (
	envUnshare  = "_Containers-unshare"
	envPidPipe  = "_Containers-pid-pipe"
	envContinue = "_Containers-continue-pipe"
	envSetsid   = "_Containers-setsid"
	envSetpgrp  = "_Containers-setpgrp"
	envTerminal = "_Containers-ctty"
)

// Reexec must be the first thing that main does. Building starts the running program again under other names; Reexec does the work
// of such a process and returns true when it is done. It returns false in the program itself.
func Reexec() bool {
	waitForMappings()
	if _, ok := os.LookupEnv(envUnshare); ok {
		if err := unshare(); err != nil {
			fmt.Fprintln(os.Stderr, "sealbuild: start helper process:", err)
			os.Exit(1)
		}
	}
	return reexec.Init()
}

// unshare does in Go what the library leaves to a C constructor, which a program built without cgo does not have: it reports its
// process id, waits for its parent, and enters new namespaces. Those belong to one thread, so that the program is then executed
// once more, by that thread, to have them as a whole.
func unshare() error {
	runtime.LockOSThread()
	flags, _ := takeEnv(envUnshare)
	if flags&unix.CLONE_NEWUSER != 0 {
		return fmt.Errorf("a user namespace is wanted, which a program of several threads cannot enter")
	}
	if fd, ok := takeEnv(envPidPipe); ok {
		pipe := os.NewFile(uintptr(fd), "pid")
		if _, err := pipe.WriteString(strconv.Itoa(os.Getpid())); err != nil {
			return fmt.Errorf("report process id: %w", err)
		}
		_ = pipe.Close()
	}
	if fd, ok := takeEnv(envContinue); ok {
		pipe := os.NewFile(uintptr(fd), "continue")
		message := make([]byte, 2048)
		if n, _ := pipe.Read(message); n > 0 {
			return fmt.Errorf("%s", message[:n])
		}
		_ = pipe.Close()
	}
	if n, ok := takeEnv(envSetsid); ok && n == 1 {
		if _, err := unix.Setsid(); err != nil {
			return fmt.Errorf("start session: %w", err)
		}
	}
	if n, ok := takeEnv(envSetpgrp); ok && n == 1 {
		if err := unix.Setpgid(0, 0); err != nil {
			return fmt.Errorf("start process group: %w", err)
		}
	}
	if fd, ok := takeEnv(envTerminal); ok {
		if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
			return fmt.Errorf("take terminal: %w", err)
		}
	}
	if flags == 0 {
		return nil
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("enter namespaces: %w", err)
	}
	// The parent asked to take this process with it when it dies; that is a property of the thread, too.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("follow parent: %w", err)
	}
	return fmt.Errorf("execute: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// takeEnv reads a number out of the environment and removes it there.
func takeEnv(name string) (int, bool) {
	text, ok := os.LookupEnv(name)
	if !ok {
		return 0, false
	}
	_ = os.Unsetenv(name)
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return n, err == nil
}
