package installer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pattern is one form of a secret.
type pattern struct {
	raw      string
	size     int // bytes of it
	units    []unit
	strength strength
	breaks   bool // it is also looked for broken over two lines
	wide     bool // base64 whose ends are not known: all base64 around it is replaced, too
}

// unit is a piece of a pattern: a character, a run of backslashes, a run of bytes that are not UTF-8, or a run of blanks with
// the end of a line among them.
type unit struct {
	raw  string
	kind unitKind
}

type unitKind int

const (
	plainUnit unitKind = iota
	slashUnit
	brokenUnit
	newlineUnit
)

func unitsOf(s string) []unit {
	var out []unit
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		u := unit{kind: plainUnit}
		run := func(is func(r rune, n int) bool) {
			for n = 0; n < len(s); {
				r, size := utf8.DecodeRuneInString(s[n:])
				if !is(r, size) {
					return
				}
				n += size
			}
		}
		blanks := len(s) - len(strings.TrimLeft(s, " \t\r\n"))
		switch {
		case r == '\\':
			u.kind = slashUnit
			run(func(r rune, _ int) bool { return r == '\\' })
		case r == utf8.RuneError && n == 1:
			u.kind = brokenUnit
			run(func(r rune, n int) bool { return r == utf8.RuneError && n == 1 })
		case strings.Contains(s[:blanks], "\n"):
			u.kind, n = newlineUnit, blanks
		}
		u.raw, s = s[:n], s[n:]
		out = append(out, u)
	}
	return out
}

// begins lists the bytes with which a form of the pattern may begin.
func (p *pattern) begins() []byte {
	u := p.units[0]
	out := []byte{u.raw[0]}
	for _, b := range []byte(`\%&+` + "\xef") {
		if b != u.raw[0] {
			out = append(out, b)
		}
	}
	return out
}

// find matches a pattern at a place of a text and gives the part of the text to replace. Before done all is replaced already.
func (t *maskTable) find(p *pattern, s string, at, done int) (start, end int, ok bool) {
	end, how := p.match(s, at)
	if how != whole {
		return 0, 0, false
	}
	start = at
	if p.wide {
		for start > done && isBase64(s[start-1]) && s[start-1] != '=' {
			start--
		}
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		return start, end, true
	}
	switch p.strength {
	case alone:
		ok = p.beginsAlone(s, start) && endsAlone(s, start, end)
	case named:
		ok = p.beginsAlone(s, start) && endsAlone(s, start, end) && t.calledSecret(s, start, end)
	default:
		ok = true
	}
	return start, end, ok
}

func isBase64(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("+/-_=", b) >= 0
}

type matched int

const (
	no matched = iota
	partly
	whole
)

// match compares a text from a place on with the pattern, whatever escapes its characters.
func (p *pattern) match(s string, i int) (end int, how matched) {
	if strings.HasPrefix(s[i:], p.raw) {
		return i + len(p.raw), whole
	}
	escaped := false // the unit before was a run of backslashes, of which the last may begin an escape
	for k, u := range p.units {
		if k > 0 && p.breaks && u.kind != newlineUnit {
			i = skipBreak(s, i)
		}
		if i == len(s) {
			return i, partly
		}
		n := u.match(s[i:], escaped)
		if n <= 0 {
			return i, no
		}
		i += n
		escaped = u.kind == slashUnit
	}
	return i, whole
}

// skipBreak skips the end of a line and the indentation of the next one.
func skipBreak(s string, i int) int {
	rest := strings.TrimPrefix(s[i:], "\r")
	if !strings.HasPrefix(rest, "\n") {
		return i
	}
	return len(s) - len(strings.TrimLeft(rest[1:], " \t"))
}

// match says how many bytes of s stand for the unit; 0 for none.
func (u unit) match(s string, escaped bool) int {
	switch u.kind {
	case slashUnit:
		n, count := 0, 0
		for n < len(s) {
			size := character(s[n:], `\`, false)
			if s[n] == '\\' {
				size = 1
				if c := escape(s[n+1:], `\`); c > 0 {
					size += c
				}
			}
			if size == 0 {
				break
			}
			n, count = n+size, count+1
		}
		if count < len(u.raw) {
			return 0
		}
		return n
	case newlineUnit:
		n := 0
		for n < len(s) {
			size := character(s[n:], "\n", escaped && n == 0)
			for _, blank := range []string{"\r", "\t", " "} {
				size = max(size, character(s[n:], blank, escaped && n == 0))
			}
			if size == 0 {
				break
			}
			n += size
		}
		return n
	case brokenUnit:
		return u.matchBroken(s, escaped)
	}
	return character(s, u.raw, escaped)
}

// matchBroken matches bytes that are not UTF-8. Programs that write text put U+FFFD in place of each of them, or of the whole run.
func (u unit) matchBroken(s string, escaped bool) int {
	n := 0
	for k := range len(u.raw) {
		size := 0
		switch {
		case strings.HasPrefix(s[n:], "\uFFFD"): // its own first byte may be the one that is looked for
			size = len("\uFFFD")
		case strings.HasPrefix(s[n:], u.raw[k:k+1]):
			size = 1
		default:
			size = max(character(s[n:], u.raw[k:k+1], escaped && k == 0), character(s[n:], "\uFFFD", escaped && k == 0))
		}
		if size == 0 {
			if k > 0 && strings.HasSuffix(s[:n], "\uFFFD") {
				return n
			}
			return 0
		}
		n += size
	}
	return n
}

// character says how many bytes at the beginning of s stand for c: c itself,
// behind backslashes, as an escape, percent signs or an entity.
func character(s, c string, escaped bool) int {
	if c == "'" {
		for _, quoted := range []string{`'\''`, `'"'"'`} { // within single quotes of a shell
			if strings.HasPrefix(s, quoted) {
				return len(quoted)
			}
		}
	}
	if c == "&" {
		for _, entity := range []string{"&amp;", "&#38;", "&#x26;"} {
			if strings.HasPrefix(s, entity) {
				return len(entity)
			}
		}
	}
	if strings.HasPrefix(s, c) {
		if c == "%" {
			return len(s) - len(trimAll(s[1:], "25"))
		}
		return len(c)
	}
	if escaped {
		if n := escape(s, c); n > 0 {
			return n
		}
	}
	if s == "" {
		return 0
	}
	switch s[0] {
	case '\\':
		n := len(s) - len(strings.TrimLeft(s, `\`))
		if c != `\` && strings.HasPrefix(s[n:], c) {
			return n + len(c)
		}
		if e := escape(s[n:], c); e > 0 {
			return n + e
		}
	case '%':
		n := 0
		for k := range len(c) {
			if !strings.HasPrefix(s[n:], "%") {
				return 0
			}
			n = len(s) - len(trimAll(s[n+1:], "25")) // a URL within a URL has %25 for each percent sign
			if !hex(s[n:], 2, uint64(c[k])) && !(c == " " && hex(s[n:], 2, '+')) {
				return 0
			}
			n += 2
		}
		return n
	case '+':
		if c == " " {
			return 1
		}
	case '&':
		r, _ := utf8.DecodeRuneInString(c)
		for _, entity := range []string{fmt.Sprintf("&#%d;", r), fmt.Sprintf("&#x%x;", r), fmt.Sprintf("&#x%X;", r), namedEntity(r)} {
			if entity != "" && strings.HasPrefix(s, entity) {
				return len(entity)
			}
		}
	}
	return 0
}

// trimAll removes a prefix as often as it is there.
func trimAll(s, prefix string) string {
	for strings.HasPrefix(s, prefix) {
		s = s[len(prefix):]
	}
	return s
}

func namedEntity(r rune) string {
	switch r {
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	case '&':
		return "&amp;"
	case '"':
		return "&quot;"
	case '\'':
		return "&apos;"
	}
	return ""
}

// escape says how many bytes of s, which follows a backslash, stand for c in one of the ways of JSON, C and Go.
func escape(s, c string) int {
	if s == "" {
		return 0
	}
	if i := strings.IndexByte("abfnrtv0e", s[0]); i >= 0 && c == string("\a\b\f\n\r\t\v\x00\x1b"[i]) {
		return 1
	}
	r, _ := utf8.DecodeRuneInString(c)
	switch {
	case s[0] == 'u' && r > 0xffff:
		r -= 0x10000
		rest := strings.TrimLeft(s[min(5, len(s)):], `\`)
		if hex(s[1:], 4, uint64(0xd800+r>>10)) && strings.HasPrefix(rest, "u") && hex(rest[1:], 4, uint64(0xdc00+r&0x3ff)) {
			return len(s) - len(rest) + 5
		}
	case s[0] == 'u' && hex(s[1:], 4, uint64(r)):
		return 5
	case s[0] == 'U' && hex(s[1:], 8, uint64(r)):
		return 9
	}
	n := 0
	for k := range len(c) { // byte by byte
		if k > 0 {
			m := len(s[n:]) - len(strings.TrimLeft(s[n:], `\`))
			if m == 0 {
				return 0
			}
			n += m
		}
		switch {
		case strings.HasPrefix(s[n:], "x") && hex(s[n+1:], 2, uint64(c[k])):
			n += 3
		case len(s) >= n+3 && s[n:n+3] == fmt.Sprintf("%03o", c[k]):
			n += 3
		default:
			return 0
		}
	}
	return n
}

// hex tells whether s begins with n hexadecimal digits of that value.
func hex(s string, n int, value uint64) bool {
	if len(s) < n {
		return false
	}
	v, err := strconv.ParseUint(s[:n], 16, 64)
	return err == nil && v == value
}
