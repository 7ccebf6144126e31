package scan

import (
	"regexp"
	"strings"
)

// Read-only after start.
var (
	assignment = regexp.MustCompile(`^\s*(?:export\s+|local\s+|readonly\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)
	variable   = regexp.MustCompile(`^(?:\$\(([A-Za-z_][A-Za-z0-9_]*)\)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?[-=]([^}]*))?\}|\$([A-Za-z_][A-Za-z0-9_]*))`)
)

// shellLine is a command line of a script, continuation lines joined.
type shellLine struct {
	text string
	line int // where it begins
}

func shellLines(script string) []shellLine {
	var out []shellLine
	var joined strings.Builder
	first, n := 0, 0
	for line := range strings.SplitSeq(script, "\n") {
		n++
		line = strings.TrimRight(line, "\r")
		if first == 0 {
			first = n
		}
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") {
			if joined.Len() == 0 {
				first = 0
			}
			continue
		}
		if cut, ok := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); ok {
			joined.WriteString(cut + " ")
			continue
		}
		joined.WriteString(line)
		out = append(out, shellLine{text: joined.String(), line: first})
		joined.Reset()
		first = 0
	}
	if joined.Len() > 0 {
		out = append(out, shellLine{text: joined.String(), line: first})
	}
	return out
}

// shellCommands takes a line apart into commands of words, with the values of variables in place. What is known only when the line
// runs becomes the unresolved mark.
func shellCommands(line string, env map[string]string) [][]string {
	s := &shellReader{env: env}
	s.read(line, 0)
	s.endCommand()
	return s.commands
}

type shellReader struct {
	env      map[string]string
	commands [][]string
	words    []string
	word     strings.Builder
	inWord   bool
}

func (s *shellReader) endWord() {
	if s.inWord {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.inWord = false
}

func (s *shellReader) endCommand() {
	s.endWord()
	if len(s.words) > 0 {
		s.commands = append(s.commands, s.words)
	}
	s.words = nil
}

// read reads unquoted text; depth bounds variables inside variables.
func (s *shellReader) read(text string, depth int) {
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\n':
			s.endWord()
			i++
		case ';', '&', '|', '(', ')':
			s.endCommand()
			i++
		case '#':
			if !s.inWord {
				return
			}
			s.word.WriteByte(c)
			i++
		case '\'':
			s.inWord = true
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				end = len(text) - i - 1
			}
			s.word.WriteString(text[i+1 : i+1+end])
			i += end + 2
		case '"':
			i = s.quoted(text, i+1)
		case '\\':
			if i+1 < len(text) {
				s.inWord = true
				s.word.WriteByte(text[i+1])
			}
			i += 2
		case '$', '`':
			value, n := s.expand(text[i:])
			i += n
			if depth < 3 && value != unresolved && !strings.HasPrefix(value, "$") {
				s.read(value, depth+1) // several words where it is not quoted
			} else {
				s.inWord = true
				s.word.WriteString(value)
			}
		default:
			s.inWord = true
			s.word.WriteByte(c)
			i++
		}
	}
}

// quoted reads up to the closing double quote and gives the index after it.
func (s *shellReader) quoted(text string, i int) int {
	s.inWord = true
	for i < len(text) {
		switch c := text[i]; {
		case c == '"':
			return i + 1
		case c == '\\' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0:
			s.word.WriteByte(text[i+1])
			i += 2
		case c == '$' || c == '`':
			value, n := s.expand(text[i:])
			s.word.WriteString(value)
			i += n
		default:
			s.word.WriteByte(c)
			i++
		}
	}
	return i
}

// expand gives the value of what text begins with and its length.
func (s *shellReader) expand(text string) (string, int) {
	if m := variable.FindStringSubmatch(text); m != nil {
		name := m[1] + m[2] + m[4]
		value, ok := s.env[name]
		switch {
		case ok && value != "" || ok && m[3] == "":
			return value, len(m[0])
		case m[3] != "":
			return strings.Trim(m[3], `"'`), len(m[0])
		}
		return unresolved, len(m[0])
	}
	for _, pair := range []string{"$(", "${", "`"} {
		if !strings.HasPrefix(text, pair) {
			continue
		}
		closing := map[string]string{"$(": ")", "${": "}", "`": "`"}[pair]
		if end := strings.Index(text[len(pair):], closing); end >= 0 {
			return unresolved, len(pair) + end + 1
		}
		return unresolved, len(text)
	}
	if len(text) > 1 && (text[1] >= '0' && text[1] <= '9' || strings.IndexByte("@*?#!$", text[1]) >= 0) {
		return unresolved, 2
	}
	return "$", 1
}

// maxValue bounds a variable's value, in bytes.
const maxValue = 64 << 10

// assign notes NAME=VALUE of a line in env; false if the line is none.
func assign(line string, env map[string]string) bool {
	m := assignment.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	s := &shellReader{env: env}
	s.read(m[2], 3) // what is quoted stays one word
	s.endWord()
	if len(s.words) > 1 {
		return false // NAME=VALUE command …
	}
	value := strings.Join(s.words, " ")
	if value == "" && env[m[1]] != "" && strings.Contains(m[2], "$") {
		return true
	}
	if len(value) > maxValue {
		value = unresolved // X=$X$X doubles with every line
	}
	env[m[1]] = value
	return true
}
