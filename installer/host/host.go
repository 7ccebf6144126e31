// Package host is the only way to a host: it runs commands there and puts files there, over ssh ([DialSSH]) or on this machine
// ([LocalSudo]).
//
// It promises that a command is an argument vector, never shell text made by the caller; that no terminal is ever asked for, so
// stdout and stderr stay apart; that the end of a context ends the command with everything it started; that a login may have
// any shell that can run a program, and that the output of its start-up files is dropped; that a file appears under its name
// only when it is complete, verified and on disk; and that nothing but the address given is ever dialled (proxies in the
// environment are not used).
package host

import (
	"context"
	"io"
	"io/fs"
)

// Cmd is one command to run.
type Cmd struct {
	Argv []string // program and arguments; the program is looked up in the host's PATH
	// Title is what errors call the command, where an operator could not read its arguments. Empty means the arguments, shortened.
	Title string
	// Env adds KEY=VALUE pairs to the environment of the host's login. Over ssh they
	// travel on a command line, which other users of that host can see: secrets go through Stdin.
	Env    []string
	Dir    string    // working directory; empty means the login's own
	Stdin  io.Reader // nil means an empty input. A read error other than EOF stops the command and is returned
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil discards; the last lines are kept for ExitError either way
	Root   bool      // run as root: through `sudo -n` when the login is another user
}

// Host is one machine. Its methods may be called from several goroutines at once.
type Host interface {
	// Name is the host's address as the operator gave it.
	Name() string
	// Run runs a command and waits for it. A command that ran and failed gives *ExitError;
	// ErrUnreachable means the connection could not be made or broke while it ran.
	// When ctx ends, the command gets SIGTERM, soon after SIGKILL, and the error wraps the context's cause.
	Run(ctx context.Context, c Cmd) error
	// Put writes a file as root: into a temporary file beside it, compared by sha256 on the far
	// side, synced, renamed. Missing parent directories are made with mode 0755. If r is also an
	// io.Seeker and the file there already has that content, only its mode is set and nothing is sent.
	Put(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error
	// Close ends the connection; commands still running on it fail.
	Close() error
}
