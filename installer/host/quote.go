package host

import "strings"

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

// special tells whether a character may mean something to a shell. '=' and '~' are among
// them because of where they can stand (assignments before a command, home directories).
func special(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_./:,+@%", r)
}
