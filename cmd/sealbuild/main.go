// Command sealbuild turns Kubefiles into one self-extracting file that installs a Kubernetes cluster where there is no network.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
)

// Exit statuses, as documented in the help.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
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
	a.finish()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(a.err, "sealbuild: interrupted; what was downloaded is kept, and the same command goes on from there")
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(a.err, "sealbuild: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(a.err, "sealbuild: %v\n", err)
		return exitFailed
	}
}

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}
