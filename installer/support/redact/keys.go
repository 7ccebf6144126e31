package redact

import (
	"encoding/base64"
	"strings"
	"sync"
)

// Labels of PEM.
const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	keyLabel = "PRIVATE KEY"
)

// keyBorder finds the first line of PEM that begins so and speaks of a private key, and gives its place.
func keyBorder(s, begin string, from int) (at, end int) {
	for {
		i := strings.Index(s[from:], begin)
		if i < 0 {
			return -1, -1
		}
		at = from + i
		rest := s[at+len(begin):]
		n := strings.Index(rest, "-----")
		if n >= 0 && n < 60 && strings.Contains(rest[:n], keyLabel) {
			return at, at + len(begin) + n + 5
		}
		from = at + len(begin)
	}
}

// privateKeys finds private keys in PEM, whatever stands before their lines, and however the ends of the lines are written. Of one
// whose first line is missing, all before its last line is taken for it; of one without a last line, all behind the first.
func privateKeys(s string) (out []span) {
	for from := 0; ; {
		begin, _ := keyBorder(s, pemBegin, from)
		end, after := keyBorder(s, pemEnd, from)
		switch {
		case begin < 0 && end < 0:
			return out
		case end >= 0 && (begin < 0 || end < begin):
			out, from = append(out, span{from, after}), after
		default:
			if end, after = keyBorder(s, pemEnd, begin); end < 0 {
				return append(out, span{begin, len(s)})
			}
			out, from = append(out, span{begin, after}), after
		}
	}
}

// openKey tells whether a text ends within a private key.
func openKey(s string) bool {
	last := strings.LastIndex(s, pemBegin)
	if last < 0 {
		return false
	}
	begin, _ := keyBorder(s, pemBegin, last)
	end, _ := keyBorder(s, pemEnd, last)
	return begin >= 0 && end < 0
}

// windows finds keys by their value, in PEM or in base64 of that, also a part of one. Pieces of them are kept, so that it takes the
// same time for one key and for those of all hosts.
type windows struct {
	mu    sync.RWMutex
	known map[string]bool
}

const (
	window = 20         // characters of a piece
	stride = window / 2 // any part of a key with window+stride characters has a whole piece in it
)

// add takes a key: PEM, or any text of characters that base64 has.
func (w *windows) add(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = map[string]bool{}
	}
	keep := func(text string) {
		for i := 0; i+window <= len(text); i += stride {
			w.known[text[i:i+window]] = true
		}
	}
	for line := range strings.Lines(strings.ReplaceAll(key, `\n`, "\n")) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			keep(line)
		}
	}
	for before := range 3 { // behind something else base64 begins at another of three places
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), key...))
		keep(text[(before*8+5)/6:])
	}
}

// find gives the words that hold a piece of a key.
func (w *windows) find(s string) (out []span) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.known) == 0 {
		return nil
	}
	for i := 0; i < len(s); {
		if !base64Byte(s[i]) {
			i++
			continue
		}
		end := i
		for end < len(s) && base64Byte(s[end]) {
			end++
		}
		for k := i; k+window <= end; k++ {
			if w.known[s[k:k+window]] {
				out = append(out, span{i, end})
				break
			}
		}
		i = end
	}
	return out
}

func base64Byte(b byte) bool { return wordByte(b) || b == '+' || b == '/' || b == '=' || b == '-' }

// wordByte tells whether a byte may stand in a word: a letter, a digit or a low line.
func wordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_'
}

// decoded gives what a text of base64 holds.
func decoded(s string) (string, bool) {
	plain, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		plain, err = base64.RawURLEncoding.DecodeString(s)
	}
	return string(plain), err == nil
}
