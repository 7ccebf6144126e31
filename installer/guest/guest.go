// Package guest turns the ENTRYPOINT and CMD of a cluster image into the shell lines that are run for it.
//
// It promises the meaning Kubefiles rely on: every element of the two arrays is one shell line, and references in it are
// replaced by the image's variables the way Kubernetes replaces them in a container's command. It is pure: it reads no
// environment and runs nothing.
package guest

import (
	"errors"
	"slices"
	"strings"
)

// MaxLine is the length in bytes a line may have: what Linux takes as one argument of a program, with its terminating zero.
const MaxLine = 128<<10 - 1

// Errors of Expand; a caller tells them apart with errors.Is.
var (
	ErrTooLong = errors.New("longer than the 128 KiB a shell line may have")
	ErrZero    = errors.New("contains a zero byte, which no shell line can")
)

// Expand replaces references to the keys of env:
//
//	$(KEY) ${KEY} $KEY   the value; values are not expanded again
//	$$                   one $, and what follows it is left alone
//
// Whatever does not name a key of env stays as it is, for the shell to see: $(date), ${X:-default}, $?, $1, $UNSET. So does a $
// after a backslash. The value is put in as text, so quotes and blanks in it count for the shell; since env is exported to the
// line as well, "$$KEY" in double quotes hands the shell the variable itself.
//
// The errors are ErrTooLong and ErrZero.
func Expand(s string, env map[string]string) (string, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", ErrZero
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		text, n := next(s[i:], env)
		if strings.IndexByte(text, 0) >= 0 {
			return "", ErrZero
		}
		if b.Len()+len(text) > MaxLine {
			return "", ErrTooLong
		}
		b.WriteString(text)
		i += n
	}
	return b.String(), nil
}

// next reads one piece off s, which is not empty: what stands for it, and how many bytes of s it takes.
func next(s string, env map[string]string) (string, int) {
	if s[0] == '\\' && len(s) > 1 {
		return s[:2], 2
	}
	if s[0] != '$' {
		if n := strings.IndexAny(s, `\$`); n > 0 {
			return s[:n], n
		} else if n < 0 {
			return s, len(s)
		}
	}
	if len(s) == 1 || s[0] != '$' {
		return s[:1], 1
	}
	key, n := "", 0
	switch {
	case s[1] == '$':
		return "$", 2
	case s[1] == '(':
		key, n = bracketed(s, ')')
	case s[1] == '{':
		key, n = bracketed(s, '}')
	default:
		for n = 1; n < len(s) && isName(s[n], n > 1); n++ {
		}
		key = s[1:n]
	}
	if value, ok := env[key]; ok && key != "" {
		return value, n
	}
	return "$", 1
}

// bracketed is what stands between s[1] and the next closing bracket, and the length up to and with that bracket.
func bracketed(s string, closing byte) (string, int) {
	end := strings.IndexByte(s, closing)
	if end < 0 {
		return "", 0
	}
	return s[2:end], end + 1
}

func isName(c byte, digits bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digits && '0' <= c && c <= '9'
}

// Lines are the shell lines of an image: the elements of entrypoint, then those of cmd, each expanded. What Dockerfile's shell
// form puts before a command (/bin/sh -c, or another shell named so) is not a line of its own, nor is an element that is blank.
// An element Expand refuses is a line as it stands: it cannot be run, and whoever tries says so.
func Lines(entrypoint, cmd []string, env map[string]string) []string {
	var lines []string
	for _, elements := range [][]string{entrypoint, cmd} {
		for i, element := range elements {
			if isShell(elements, i) {
				continue
			}
			line, err := Expand(element, env)
			if err != nil {
				line = element
			}
			if strings.TrimSpace(line) != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// isShell reports whether element i only says by which shell the next is run.
func isShell(elements []string, i int) bool {
	switch elements[i] {
	case "/bin/sh", "-c":
		return true
	}
	shells := []string{"sh", "bash", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"}
	return slices.Contains(shells, elements[i]) && i+1 < len(elements) && elements[i+1] == "-c"
}
