// Package remote is what an operator has done on hosts of a cluster by hand: programs are run there, files copied, logs read. It is
// no run: it takes no lock, writes no record, and may be at work beside one. A host that is dead or hangs holds up no other.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
)

// Program is what is run on every host, as root.
type Program struct {
	Argv []string          // passed as it is: no shell reads it
	Env  map[string]string // beside that of the login; it stands in no argument vector there
	// Stdin is what the program reads, on every host the same.
	Stdin   []byte
	Timeout time.Duration // for each host, its connection included
}

// Result is how a program ended on a host.
type Result struct {
	Host    string  `json:"host"`
	Exit    *int    `json:"exit"`            // as a shell gives it: 128 + signal; nil if the host could not be asked, or the program did not end
	Error   string  `json:"error,omitempty"` // why there is no exit status, or what signal ended the program
	Stdout  string  `json:"stdout"`
	Stderr  string  `json:"stderr"`
	Seconds float64 `json:"seconds"`
}

// OK tells whether the program ended with status 0.
func (r Result) OK() bool { return r.Exit != nil && *r.Exit == 0 }

// Output takes what programs write, while they run. Its methods are called from several goroutines at once.
type Output interface {
	// Begin gives the writers of a host, by its place in the list of hosts.
	Begin(i int) (stdout, stderr io.Writer)
	// End is called when the program on a host has ended, or could not be begun.
	End(i int, r *Result) error
}

// variable is the name of a variable that a shell can set.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Check tells what of a program no host could run.
func (p Program) Check() error {
	if len(p.Argv) == 0 || p.Argv[0] == "" {
		return errors.New("no program to run")
	}
	for name, value := range p.Env {
		if !variable.MatchString(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("%q is no variable that can be set", name)
		}
	}
	return nil
}

// Exec runs a program on hosts, on at most f.Jobs of them at once, and gives how it ended on each, in their order. The error is
// that of the output.
func Exec(ctx context.Context, f *fleet.Fleet, p Program, out Output) ([]Result, error) {
	results := make([]Result, len(f.Targets))
	failed := make([]error, len(f.Targets))
	places := map[*fleet.Target]int{}
	for i, t := range f.Targets {
		places[t] = i
		results[i] = Result{Host: t.IP.String()}
	}
	err := fleet.Each(ctx, f.Targets, f.Jobs, func(ctx context.Context, t *fleet.Target) error {
		i := places[t]
		r := &results[i]
		start := time.Now()
		stdout, stderr := out.Begin(i)
		r.ended(p.on(ctx, f, t, stdout, stderr))
		r.Seconds = time.Since(start).Seconds()
		failed[i] = out.End(i, r)
		return nil
	})
	if err != nil { // the command was stopped before the last hosts had their turn
		for i := range results {
			if r := &results[i]; r.Exit == nil && r.Error == "" {
				r.Error = installer.TellAt(context.Cause(ctx), r.Host)
				failed[i] = out.End(i, r)
			}
		}
	}
	return results, errors.Join(failed...)
}

// begin makes the environment of a program and becomes it. Its arguments are the number of variables, then the program; the
// variables are lines of its input, which is otherwise the program's. A login over ssh often lacks the sbin directories.
const begin = `case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH;; esac
n=$1; shift
while [ "$n" -gt 0 ]; do
	IFS= read -r line || exit 126
	value=$(printf '%b.' "${line#*=}")
	export "${line%%=*}=${value%.}"
	n=$((n - 1))
done
exec "$@"`

// on runs the program on a host.
func (p Program) on(ctx context.Context, f *fleet.Fleet, t *fleet.Target, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.Timeout, fmt.Errorf("no end after %s (--timeout)", p.Timeout))
	defer cancel()
	if err := f.Link(ctx, t); err != nil {
		return err
	}
	var variables strings.Builder
	for name, value := range p.Env {
		variables.WriteString(name + "=" + octal(value) + "\n")
	}
	argv := append([]string{"/bin/sh", "-c", begin, "sh", fmt.Sprint(len(p.Env))}, p.Argv...)
	return t.Link.Run(ctx, host.Cmd{
		Argv: argv, Title: p.Argv[0], Root: true, Stdout: stdout, Stderr: stderr,
		Stdin: io.MultiReader(strings.NewReader(variables.String()), bytes.NewReader(p.Stdin)),
	})
}

// octal writes a text so that it is one line, and printf %b gives it back.
func octal(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\0%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ended notes how a program ended.
func (r *Result) ended(err error) {
	exit, ran := errors.AsType[*host.ExitError](err)
	code := 0
	switch {
	case err == nil:
	case ran && exit.Signal != "":
		code = 128 + int(unix.SignalNum("SIG"+exit.Signal))
		r.Error = "ended by signal " + exit.Signal
	case ran:
		code = exit.Code
	default:
		r.Error = installer.TellAt(err, r.Host)
		return
	}
	r.Exit = &code
}

// Failed are the results of hosts where the program did not end with status 0.
func Failed(results []Result) []Result {
	return slices.DeleteFunc(slices.Clone(results), Result.OK)
}

// WriteJSON writes results as JSON, one object a line.
func WriteJSON(w io.Writer, results []Result) error {
	enc := json.NewEncoder(w)
	for _, r := range results {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
