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

// ErrorAt is the text for a reader who has been told of host: without the name, if it is that host's.
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
