package installer

import (
	"fmt"
	"slices"
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

// namedIn lists the hosts that an error names, each once.
func namedIn(err error) (out []string) {
	host := ""
	switch e := err.(type) {
	case *HostError:
		host = e.Host
	case *CommandError:
		host = e.Host
	case *GuestError:
		host = e.Host
	}
	if host != "" {
		return []string{host}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return namedIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			for _, h := range namedIn(part) {
				if !slices.Contains(out, h) {
					out = append(out, h)
				}
			}
		}
	}
	return out
}
