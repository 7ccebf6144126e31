package progress

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// screen is a terminal: it wraps, scrolls, keeps what has scrolled away, and refuses every sequence that it does not know. A line
// that wrapped is broken anew when the screen gets another width, as terminals of today do.
type screen struct {
	t             *testing.T
	columns, rows int
	lines         []line // what has scrolled away, then what is on the screen
	row, column   int    // of the cursor, in lines
	writes        int
	wrapped       int // lines that were too long
}

type line struct {
	text []rune
	more bool // it goes on in the next line
}

func newScreen(t *testing.T, columns, rows int) *screen {
	return &screen{t: t, columns: columns, rows: rows, lines: make([]line, 1)}
}

func (s *screen) size() (int, int) { return s.columns, s.rows }

func (s *screen) top() int { return max(0, len(s.lines)-s.rows) }

func (s *screen) Write(p []byte) (int, error) {
	s.writes++
	text := []rune(string(p))
	for len(text) > 0 {
		switch c := text[0]; {
		case c == '\x1b':
			text = s.sequence(text)
			continue
		case c == '\r':
			s.column = 0
		case c == '\n':
			s.down()
		case c < ' ':
			s.t.Errorf("the terminal gets %q", c)
		default:
			s.put(c)
		}
		text = text[1:]
	}
	return len(p), nil
}

func (s *screen) down() {
	if s.row++; s.row == len(s.lines) {
		s.lines = append(s.lines, line{})
	}
}

func (s *screen) put(c rune) {
	if s.column == s.columns {
		s.wrapped++
		s.lines[s.row].more = true
		s.down()
		s.column = 0
	}
	l := &s.lines[s.row]
	for len(l.text) <= s.column {
		l.text = append(l.text, ' ')
	}
	l.text[s.column] = c
	s.column++
}

func (s *screen) sequence(text []rune) []rune {
	end := 2
	for end < len(text) && (text[end] == ';' || text[end] >= '0' && text[end] <= '9') {
		end++
	}
	if len(text) < 3 || text[1] != '[' || end == len(text) {
		s.t.Fatalf("the terminal gets a sequence without an end: %q", string(text))
	}
	n, _ := strconv.Atoi(string(text[2:end]))
	switch text[end] {
	case 'A':
		s.row = max(s.top(), s.row-max(1, n))
	case 'K':
		l := &s.lines[s.row]
		l.text, l.more = l.text[:min(s.column, len(l.text))], false
	case 'J':
		l := &s.lines[s.row]
		l.text, l.more = l.text[:min(s.column, len(l.text))], false
		s.lines = s.lines[:s.row+1]
	case 'm':
	default:
		s.t.Errorf("the terminal gets %q", string(text[:end+1]))
	}
	return text[end+1:]
}

// resize gives the screen another width.
func (s *screen) resize(columns int) {
	var whole [][]rune
	var row int
	more := false
	for i, l := range s.lines {
		if !more {
			whole = append(whole, nil)
		}
		whole[len(whole)-1] = append(whole[len(whole)-1], l.text...)
		if i == s.row {
			row = len(whole) - 1
		}
		more = l.more
	}
	s.lines, s.columns = nil, columns
	for i, text := range whole {
		if i == row {
			s.row = len(s.lines)
		}
		for len(text) > columns {
			s.lines = append(s.lines, line{text[:columns:columns], true})
			text = text[columns:]
		}
		s.lines = append(s.lines, line{text, false})
	}
}

func (s *screen) text() string {
	var out strings.Builder
	for _, l := range s.lines {
		fmt.Fprintln(&out, strings.TrimRight(string(l.text), " "))
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}
