package host

import (
	"fmt"
	"strings"
)

// loginLine wraps shell text for /bin/sh into a line that every login shell understands alike: sh and its kin, csh, fish and
// others all know exec, a program and words in single quotes. Characters that they read differently inside such quotes (the
// quote itself, backslash, ! and newline), and those outside ASCII, travel as the octal escapes of printf: all shells take a
// backslash before a digit as plain text.
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

// commandLine is the line that the login shell gets for a command. It prints its process group, and marks where its output begins.
func commandLine(c Cmd, argv []string, m startMark) string {
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

// Quote joins argv into one line that a POSIX shell splits back into exactly argv.
// A NUL byte cannot be part of an argument of a process; it is left out.
func Quote(argv ...string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		quote(&b, strings.ReplaceAll(arg, "\x00", ""))
	}
	return b.String()
}

func quote(b *strings.Builder, arg string) {
	if arg != "" && strings.IndexFunc(arg, special) < 0 {
		b.WriteString(arg)
		return
	}
	b.WriteByte('\'')
	// Inside single quotes nothing is special but the quote itself, which has to be
	// written outside: close, escaped quote, open again.
	b.WriteString(strings.ReplaceAll(arg, "'", `'\''`))
	b.WriteByte('\'')
}

// special tells whether a character may mean something to a shell. '=' and '~' may: in an assignment before a command, and at
// the beginning of a path.
func special(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_./:,+@%", r)
}
