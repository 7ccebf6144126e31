// Package hosttest has hosts for tests: [Fake], which answers from a script and remembers what it was
// asked; [StartServer], an ssh server inside the test that can be made to misbehave; and [StartSSHD],
// the real one of this machine.
package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/sealbuild/sealbuild/installer/host"
)

// Answer is what a scripted command does.
type Answer struct {
	Stdout, Stderr string
	Code           int   // other than 0 gives a *host.ExitError
	Err            error // returned as it is, in place of an exit status
	// Do, if set, runs in place of the above, with the command's streams.
	Do func(ctx context.Context, c host.Cmd) error
}

// Call is one command the fake was asked to run.
type Call struct {
	Argv, Env []string
	Dir       string
	Root      bool
	Stdin     []byte // read to its end, unless Do was set
}

// PutFile is a file put on the fake.
type PutFile struct {
	Mode    fs.FileMode
	Content []byte
}

// Fake is a host without a machine.
type Fake struct {
	t    testing.TB
	name string

	mu      sync.Mutex
	answers map[string][]Answer
	calls   []Call
	files   map[string]PutFile
	putErr  error
	closed  bool
}

var _ host.Host = (*Fake)(nil)

// NewFake makes a host that knows no command yet. A command it was not told about fails the test.
func NewFake(t testing.TB, name string) *Fake {
	return &Fake{t: t, name: name, answers: map[string][]Answer{}, files: map[string]PutFile{}}
}

// On scripts the answers to one argument vector: the first call gets the first one, and the last is given again to all further
// calls.
func (f *Fake) On(argv []string, answers ...Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[host.Quote(argv...)] = answers
}

// FailPut makes every Put fail with err; nil makes it work again.
func (f *Fake) FailPut(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putErr = err
}

// Calls gives what was run, in the order it was started.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// File gives a file that was put.
func (f *Fake) File(path string) (PutFile, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.files[path]
	return p, ok
}

// Closed tells whether Close was called.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *Fake) Name() string { return f.name }

func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *Fake) Run(ctx context.Context, c host.Cmd) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", f.name, context.Cause(ctx))
	}
	a, known, call := f.take(c)
	if !known {
		f.t.Errorf("%s: nobody said what to answer to: %s", f.name, host.Quote(c.Argv...))
		return &host.ExitError{Host: f.name, Argv: c.Argv, Code: 127}
	}
	if a.Do != nil {
		return a.Do(ctx, c)
	}
	if c.Stdin != nil {
		in, err := io.ReadAll(c.Stdin)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		f.mu.Lock()
		f.calls[call].Stdin = in
		f.mu.Unlock()
	}
	write(c.Stdout, a.Stdout)
	write(c.Stderr, a.Stderr)
	if a.Err != nil {
		return a.Err
	}
	if a.Code != 0 {
		return &host.ExitError{Host: f.name, Argv: c.Argv, Code: a.Code, Stderr: a.Stderr}
	}
	return nil
}

// take records a call and gives its answer.
func (f *Fake) take(c host.Cmd) (Answer, bool, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{Argv: slices.Clone(c.Argv), Env: slices.Clone(c.Env), Dir: c.Dir, Root: c.Root})
	key := host.Quote(c.Argv...)
	left := f.answers[key]
	if len(left) == 0 {
		return Answer{}, false, 0
	}
	if len(left) > 1 {
		f.answers[key] = left[1:]
	}
	return left[0], true, len(f.calls) - 1
}

func (f *Fake) Put(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", f.name, context.Cause(ctx))
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return fmt.Errorf("%s: put %s: %w", f.name, path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.putErr != nil {
		return f.putErr
	}
	f.files[path] = PutFile{Mode: mode, Content: b.Bytes()}
	return nil
}

func write(w io.Writer, s string) {
	if w != nil && s != "" {
		io.WriteString(w, s)
	}
}
