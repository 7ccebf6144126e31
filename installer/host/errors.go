package host

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// What went wrong between here and a host, for errors.Is. ErrUnreachable may pass when
// tried again; the others need the operator.
var (
	ErrUnreachable = errors.New("host is unreachable")
	ErrAuth        = errors.New("login refused")
	ErrHostKey     = errors.New("host key not accepted")
	ErrSudo        = errors.New("no way to be root")
	ErrShell       = errors.New("the login runs no commands")
)

// Error is a failure to reach or use a host. It wraps one of the sentinels above and, where there is one, the cause.
type Error struct {
	Host   string // as given by the operator
	Kind   error  // ErrUnreachable, ErrAuth, ErrHostKey, ErrSudo or ErrShell
	Err    error  // the cause; may be nil
	Remedy string // what the operator can do
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Host, e.Kind)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, " (%s)", e.Remedy)
	}
	return b.String()
}

// cause is the error below, or the kind.
func (e *Error) cause() error {
	if e.Err == nil {
		return e.Kind
	}
	return e.Err
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// ExitError is a command that ran and did not succeed.
type ExitError struct {
	Host   string
	Title  string // what to call it in a message; empty: its arguments, shortened
	Argv   []string
	Code   int    // exit status; -1 if a signal ended it
	Signal string // name of that signal without SIG, or empty
	Stderr string // last lines of stderr
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", e.Host, cmp.Or(e.Title, shortened(e.Argv)))
	if e.Signal != "" {
		fmt.Fprintf(&b, "ended by signal %s", e.Signal)
	} else {
		fmt.Fprintf(&b, "exit status %d", e.Code)
	}
	if s := strings.TrimSpace(e.Stderr); s != "" {
		fmt.Fprintf(&b, ": %s", s)
	} else if e.Signal == "" {
		b.WriteString(" without a word")
	}
	return b.String()
}

// maxWord bounds one argument in a message, in bytes.
const maxWord = 80

// shortened gives a command line for a message: scripts and other long arguments are left out.
func shortened(argv []string) string {
	var out []string
	for i, arg := range argv {
		script := i == 2 && argv[1] == "-c" && strings.HasSuffix(argv[0], "sh")
		if script || len(arg) > maxWord || strings.ContainsRune(arg, '\n') {
			out = append(out, "…")
			continue
		}
		out = append(out, Quote(arg))
	}
	return strings.Join(out, " ")
}

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *Error) ErrorAt(host string) string { return without(e.Error(), e.Host, host) }

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *ExitError) ErrorAt(host string) string { return without(e.Error(), e.Host, host) }

func without(text, own, told string) string {
	if own != told {
		return text
	}
	return strings.TrimPrefix(text, own+": ")
}
