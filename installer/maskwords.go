package installer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// How a short secret in a text is told from a part of another word; see masks.

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// joins are the characters that make one name of two words.
const joins = "/.-"

// beginsAlone tells whether a word of its own begins at a place of a text: not in the middle of a word, a path or a name.
func (p *pattern) beginsAlone(s string, start int) bool {
	if p.strength == anywhere {
		return true
	}
	r, n := utf8.DecodeLastRuneInString(s[:start])
	first, _ := utf8.DecodeRuneInString(p.raw)
	switch {
	case n == 0:
		return true
	case isWord(r):
		return !isWord(first)
	case r == '/':
		return false // /root is a path as well
	case strings.ContainsRune(joins, r):
		before, _ := utf8.DecodeLastRuneInString(s[:start-n])
		return !isWord(before)
	}
	return true
}

// endsAlone tells the same of the end of a word. A word before an @ is the name of a user, unless a colon stands before it.
func endsAlone(s string, start, end int) bool {
	r, n := utf8.DecodeRuneInString(s[end:])
	last, _ := utf8.DecodeLastRuneInString(s[:end])
	after, _ := utf8.DecodeRuneInString(s[end+n:])
	switch {
	case n == 0:
		return true
	case isWord(r):
		return !isWord(last)
	case r == '@':
		return strings.HasSuffix(s[:start], ":")
	case r == '/':
		return false
	case strings.ContainsRune(joins, r):
		return len(s) == end+n || !isWord(after)
	}
	return true
}

// calledSecret tells whether the text calls what stands at a place a secret: password=10, user:10@host.
func (t *maskTable) calledSecret(s string, start, end int) bool {
	before := s[max(0, start-80):start]
	if strings.HasPrefix(s[end:], "@") && strings.HasSuffix(before, ":") {
		return true
	}
	before = before[strings.LastIndexByte(before, '\n')+1:]
	for {
		before = strings.TrimRight(before, " \t\"'`:=>({[")
		name := before[1+strings.LastIndexFunc(before, func(r rune) bool { return !isWord(r) && r != '-' && r != '.' }):]
		switch strings.ToLower(name) {
		case "is", "was", "value":
			before = strings.TrimSuffix(before, name)
			continue
		}
		return SecretName(name) || t.names[name]
	}
}
