package installer

import (
	"fmt"
	"strings"
)

// CommandError is a command that ran on a host and failed.
type CommandError struct {
	Host    string
	Command string
	Code    int
	Tail    string // last lines of its output
}

func (e *CommandError) Error() string { return e.ErrorAt("") }

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *CommandError) ErrorAt(host string) string {
	s := fmt.Sprintf("%s: exit status %d", e.Command, e.Code)
	if e.Host != host {
		s = e.Host + ": " + s
	}
	if e.Tail != "" {
		s += ":\n  " + strings.ReplaceAll(e.Tail, "\n", "\n  ")
	}
	return s
}

// GuestError is a command of an image that failed.
type GuestError struct {
	Image   string
	Host    string
	Command string
	Err     error
}

func (e *GuestError) Error() string { return e.ErrorAt("") }

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *GuestError) ErrorAt(host string) string {
	s := fmt.Sprintf("the command %q of image %s failed: %s", e.Command, e.Image, TellAt(e.Err, e.Host))
	if e.Host == host {
		return s
	}
	return e.Host + ": " + s
}

func (e *GuestError) Unwrap() error { return e.Err }
