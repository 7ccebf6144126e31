package installer

import "strings"

// Plain removes from text what would move the cursor of a terminal, colour it or ring it: escape sequences and control
// characters. Of a line that was written over, such as a progress bar, the last state stays. Newlines and tabs stay.
func Plain(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if !strings.ContainsFunc(text, isControl) {
		return text
	}
	var out strings.Builder
	line := 0 // where the current line begins in out
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == esc:
			i += escapeLength(text[i:])
			continue
		case c == '\n':
			out.WriteByte(c)
			line = out.Len()
		case c == '\r':
			if i+1 < len(text) && text[i+1] != '\n' && text[i+1] != '\r' {
				kept := out.String()[:line]
				out.Reset()
				out.WriteString(kept)
			}
		case c == '\t' || c >= ' ' && c != del && c != c1:
			out.WriteByte(c)
		case c == c1 && i+1 < len(text) && text[i+1] < 0xa0: // U+0080 to U+009F
			i++
		case c == c1:
			out.WriteByte(c)
		}
		i++
	}
	return out.String()
}

const (
	esc = 0x1b
	del = 0x7f
	c1  = 0xc2 // the first byte of U+0080 to U+00BF
)

func isControl(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r == del || r >= 0x80 && r < 0xa0
}

// escapeLength is how many bytes the escape sequence takes with which text begins; one that never ends is only its first byte.
func escapeLength(text string) int {
	if len(text) < 2 {
		return 1
	}
	switch text[1] {
	case '[': // parameters, then one letter
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
			if text[i] < 0x20 || text[i] > 0x3f {
				return i
			}
		}
		return len(text)
	case ']', 'P', '_', '^', 'X': // a string, up to BEL or ESC \
		for i := 2; i < len(text) && text[i] != '\n'; i++ {
			if text[i] == 0x07 {
				return i + 1
			}
			if text[i] == esc {
				return i // what follows is looked at by itself: mostly a backslash
			}
		}
		return 2
	case '\\': // the end of such a string
	case '(', ')', '*', '+', '#', ' ': // a character set
		if len(text) > 2 && text[2] < 0x80 {
			return 3
		}
	}
	if text[1] >= 0x80 || text[1] == '\n' {
		return 1
	}
	return 2
}
