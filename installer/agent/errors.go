package agent

import (
	"fmt"
	"strings"
)

// Error is the error of a verb that failed on a host.
type Error struct {
	Host    string `json:"-"`
	Verb    string `json:"-"`
	Code    string `json:"code,omitempty"` // one of the Code constants, or empty
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Codes of errors that callers tell apart.
const (
	CodeProtocol = "protocol" // the stub there is of another version: copy it again
	CodeRefused  = "refused"  // the verb will not do that, ever
	CodeDigest   = "digest"   // other bytes arrived than were announced
	CodeTimeout  = "timeout"  // the program ran longer than it was allowed to
	CodeMissing  = "missing"  // a program that is needed is not on the host
	CodeLocked   = "locked"   // another holds the lock; the message names the holder
	CodeCut      = "cut"      // the connection ended before the verb did
)

func (e *Error) Error() string { return e.ErrorAt("") }

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *Error) ErrorAt(host string) string {
	s := e.Message
	switch e.Host {
	case "":
	case host:
		s = e.Verb + ": " + e.Message
	default:
		s = fmt.Sprintf("%s: %s: %s", e.Host, e.Verb, e.Message)
	}
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// ScriptError is a script that ran and failed.
type ScriptError struct {
	Host string
	Line string   // the shell text
	Code int      // exit status; 128 + signal if a signal ended it
	Tail []string // last lines of its output
}

func (e *ScriptError) Error() string { return e.ErrorAt("") }

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *ScriptError) ErrorAt(host string) string {
	s := fmt.Sprintf("script %q: exit status %d", e.Line, e.Code)
	if e.Host != host {
		s = e.Host + ": " + s
	}
	if len(e.Tail) > 0 {
		s += ":\n  " + strings.Join(e.Tail, "\n  ")
	}
	return s
}

// callError is a call that got no answer.
type callError struct {
	host, verb string
	err        error
}

func (e *callError) Error() string { return e.ErrorAt("") }

func (e *callError) Unwrap() error { return e.err }

func (e *callError) ErrorAt(host string) string {
	cause := e.err.Error()
	if at, ok := e.err.(interface{ ErrorAt(host string) string }); ok {
		cause = at.ErrorAt(e.host)
	}
	if e.host == host {
		return e.verb + ": " + cause
	}
	return e.host + ": " + e.verb + ": " + cause
}

// ErrCut is why a verb ends when the connection to the installer has ended.
var ErrCut = &Error{Code: CodeCut, Message: "the connection to the installer ended"}
