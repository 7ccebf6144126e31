// Command sealbuild turns Kubefiles into one self-extracting file that installs a Kubernetes cluster where there is no network.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"golang.org/x/sys/unix"
)

// Exit statuses of every command.
const (
	exitOK     = 0 // done
	exitFailed = 1 // failed; what was downloaded is kept, and the same command goes on from there
	exitUsage  = 2 // the command line is wrong; nothing was done
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the whole program. Building starts this executable again under other names, for the work that needs a process of its own.
func run(args []string) int {
	if build.Reexec() {
		return exitOK
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr}
	cmd := a.command()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	a.finish(err)
	if err == nil {
		for _, line := range a.full {
			_, _ = libraries{a.progress}.Write([]byte(line)) // it never fails
		}
	}
	var usage *usageError
	switch {
	case err == nil:
		if a.progress != nil {
			a.progress.ends("")
		}
		return exitOK
	case ctx.Err() != nil:
		a.tell("sealbuild: interrupted; what was downloaded is kept, and the same command goes on from there")
		return exitFailed
	case errors.As(err, &usage):
		a.tell(fmt.Sprintf("sealbuild: %v", err))
		return exitUsage
	case diskFull(err):
		at := ""
		if e, ok := errors.AsType[*os.PathError](err); ok {
			at = " at " + e.Path
		}
		a.tell(fmt.Sprintf("sealbuild: a disk is full (no space left on device, or no inodes)%s: %s", at, a.room()))
		return exitFailed
	default:
		a.tell(fmt.Sprintf("sealbuild: %v", err))
		return exitFailed
	}
}

// diskFull tells whether that is the cause. Programs and libraries that a build runs say it in words only.
func diskFull(err error) bool {
	text := err.Error()
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || saysFull(text)
}

func saysFull(text string) bool {
	return strings.Contains(text, unix.ENOSPC.Error()) || strings.Contains(text, unix.EDQUOT.Error())
}

// room lists the places that the program writes to, with what is free there, and how another one is named.
func (a *app) room() string {
	root := a.root
	if root == "" {
		root, _ = store.DefaultRoot()
	}
	places := []string{fmt.Sprintf("image store and temporary files %s, %s (--root names another, TMPDIR one for temporary files alone)", root, freeIn(root))}
	if tmp := os.TempDir(); !strings.HasPrefix(tmp, root+"/") {
		places = []string{
			fmt.Sprintf("image store %s, %s (--root names another)", root, freeIn(root)),
			fmt.Sprintf("temporary files %s, %s (TMPDIR names another)", tmp, freeIn(tmp)),
		}
	}
	if a.output != "" {
		places = append(places, fmt.Sprintf("output %s, %s (-o)", a.output, freeIn(filepath.Dir(a.output))))
	}
	return strings.Join(places, "; ") + "; sealbuild rmi --prune frees what no image of the store needs"
}

func freeIn(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%s of %s and %d inodes free now", humanize.IBytes(st.Bavail*uint64(st.Bsize)), humanize.IBytes(st.Blocks*uint64(st.Bsize)), st.Ffree)
}

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}
