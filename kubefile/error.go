package kubefile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Error is a mistake in a Kubefile. It prints as
//
//	Kubefile:3:1: unknown instruction "COPPY": expected one of ADD, ARG, … (did you mean COPY?)
//	    COPPY . .
//	    ^
type Error struct {
	File   string
	Line   int    // 1-based
	Column int    // 1-based, in characters
	Text   string // the source line
	Want   string // what was expected there
	Err    error  // what is wrong
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
	if e.Want != "" {
		b.WriteString(": expected " + e.Want)
	}
	if strings.TrimSpace(e.Text) == "" {
		return b.String()
	}
	b.WriteString("\n    " + e.Text + "\n    ")
	column := 1
	for _, r := range e.Text {
		if column >= e.Column {
			break
		}
		// A tab is repeated so that the caret stays below its character.
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		column++
	}
	b.WriteByte('^')
	return b.String()
}

// Unwrap gives what is wrong without its position.
func (e *Error) Unwrap() error { return e.Err }

// source is the text being parsed, for positions.
type source struct {
	name  string
	lines []string
}

func newSource(name string, text []byte) *source {
	lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\r")
	}
	return &source{name: name, lines: lines}
}

// maxErrorText bounds the source text an error carries, in bytes.
const maxErrorText = 300

func (s *source) errorAt(line, column int, want string, err error) *Error {
	line = min(max(line, 1), len(s.lines))
	text := s.lines[line-1]
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return &Error{File: s.name, Line: line, Column: max(column, 1), Text: text, Want: want, Err: err}
}

// find looks for text in lines [from, to] and tells where it begins; without it, where the first line's own text begins.
func (s *source) find(text string, from, to int) (line, column int) {
	from = min(max(from, 1), len(s.lines))
	to = min(max(to, from), len(s.lines))
	if text != "" {
		for n := from; n <= to; n++ {
			if i := strings.Index(s.lines[n-1], text); i >= 0 {
				return n, 1 + len([]rune(s.lines[n-1][:i]))
			}
		}
	}
	indent := len(s.lines[from-1]) - len(strings.TrimLeft(s.lines[from-1], " \t"))
	return from, indent + 1
}

// word looks for a whole word of an instruction behind its keyword, else as find does.
func (s *source) word(text string, in Instruction) (line, column int) {
	word := regexp.MustCompile(`[\s",\[]` + regexp.QuoteMeta(text) + `($|[\s",\]])`)
	for n := in.Line; n <= min(in.EndLine, len(s.lines)); n++ {
		// The blank in front is for a word at the beginning of a further line.
		before := ""
		if n > in.Line {
			before = " "
		}
		if at := word.FindStringIndex(before + s.lines[n-1]); at != nil {
			return n, 2 + len([]rune((before + s.lines[n-1])[:at[0]])) - len(before)
		}
	}
	return s.find(text, in.Line, in.EndLine)
}

// fromParser gives an error of the line parser its position.
func (s *source) fromParser(err error) *Error {
	first, last := 1, 1
	if located, ok := errors.AsType[*parser.LocationError](err); ok && len(located.Locations) > 0 && len(located.Locations[0]) > 0 {
		ranges := located.Locations[0]
		first, last = ranges[0].Start.Line, ranges[len(ranges)-1].End.Line
	}
	msg := err.Error()
	first = s.skipBlank(first)
	name := ""
	if words := strings.Fields(s.lines[first-1]); len(words) > 0 {
		name = strings.ToUpper(words[0])
	}
	want, at := usage(name), ""
	switch {
	case strings.Contains(msg, "no instructions"):
		return s.errorAt(1, 1, "FROM", errors.New("no instruction in the file"))
	case strings.Contains(msg, "unterminated heredoc"):
		at, want = "<<", "a line that holds only the word after <<"
	case strings.Contains(msg, "comprised of strings only"):
		at, want = "[", `an array of strings, as in ["a", "b"]`
	case strings.Contains(msg, "can't find = in"):
		at, want = quoted(msg), name+" KEY=VALUE …"
	case strings.Contains(msg, "escape token"):
		at, want = "escape", "# escape=\\ or # escape=`"
	case strings.Contains(msg, "max allowed size"):
		want = "shorter lines"
	}
	line, column := s.find(at, first, last)
	return s.errorAt(line, column, want, err)
}

// skipBlank moves to the next line that holds anything.
func (s *source) skipBlank(line int) int {
	line = min(max(line, 1), len(s.lines))
	for line < len(s.lines) && strings.TrimSpace(s.lines[line-1]) == "" {
		line++
	}
	return line
}

// quoted gives the first word that msg holds in double quotes.
func quoted(msg string) string {
	_, rest, ok := strings.Cut(msg, `"`)
	if !ok {
		return ""
	}
	word, _, _ := strings.Cut(rest, `"`)
	return strings.TrimSuffix(word, `\`)
}
