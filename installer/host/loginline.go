package host

import (
	"fmt"
	"strings"
)

// loginLine wraps shell text for /bin/sh into a line that every login shell understands alike: sh and its kin, csh, fish
// and others all know exec, a program and words in single quotes. What they read differently inside such quotes (the quote
// itself, backslash, ! and newline), and what is not ASCII, travels as the octal escapes of printf: a backslash that a digit
// follows is plain text to all of them.
func loginLine(script string) string {
	var b strings.Builder
	b.WriteString(`exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '`)
	for i := range len(script) {
		switch c := script[i]; {
		case c == 0: // cannot be part of an argument
		case c < ' ', c > '~', c == '\'', c == '\\', c == '!':
			fmt.Fprintf(&b, `\0%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// commandLine is what the login shell gets for a command: it tells its process group, and marks where its output begins.
func commandLine(c Cmd, argv []string, m mark) string {
	var b strings.Builder
	b.WriteString(m.sayErrs())
	if c.Dir != "" {
		b.WriteString("cd " + Quote("--", c.Dir) + " || exit; ")
	}
	if !c.Root {
		b.WriteString(m.sayOut())
	}
	b.WriteString("exec ")
	if len(c.Env) > 0 {
		b.WriteString("env " + Quote(c.Env...) + " ")
	}
	b.WriteString(Quote(argv...))
	return loginLine(b.String())
}
