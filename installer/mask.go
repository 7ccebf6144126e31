package installer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// masked is what stands in place of a secret.
const masked = "******"

// masks replaces secrets in texts. What is replaced, and where:
//
//   - A secret is found as it is and as others write it: with backslashes (JSON, Go, shells), percent signs (URLs), entities
//     (HTML) or in base64, alone or behind something else, as in basic authentication; and where it is broken over two lines. It
//     need not be valid UTF-8.
//   - A secret of 8 characters and more that is no plain word is replaced wherever it stands, also within a longer word.
//   - A word (letters only, or digits only, fewer than 16) and any secret of 4 to 7 characters is replaced where it stands alone:
//     not as a part of another word, of a path, of a name with dots or dashes, or before an @. Holes in chr**t and /****/.kube
//     would tell everybody what was cut out, and the text could not be read any more.
//   - A shorter one is replaced only where the text says that it is a secret (password=10, user:10@host): every other 10 is just
//     a number, and a hole in "step 10 of 12" would give it away.
//   - Of a secret of several lines each line is a secret too, since output is passed on line by line.
//
// This does not find a weak secret between other letters. A reader cannot tell it from any other word there.
type masks struct {
	mu    sync.Mutex
	known map[string]bool
	table atomic.Pointer[maskTable]
}

// maskTable is never changed once it is made.
type maskTable struct {
	all   []*pattern
	first [256][]*pattern // by the first byte that a form of a pattern may have
	names map[string]bool // of variables whose values are secret though the names do not show it
	most  int             // about how many bytes the longest pattern may take in a text
}

func newMasks() *masks {
	m := &masks{known: map[string]bool{}}
	m.table.Store(&maskTable{})
	return m
}

// add hides a secret from now on.
func (m *masks) add(secret string) {
	secret = strings.TrimSpace(secret)
	m.mu.Lock()
	defer m.mu.Unlock()
	if secret == "" || m.known[secret] {
		return
	}
	m.known[secret] = true
	patterns := patternsOf(secret)
	if lines := strings.Split(secret, "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= 4 && !strings.HasPrefix(line, "-----") && !m.known[line] {
				m.known[line] = true
				patterns = append(patterns, patternsOf(line)...)
			}
		}
	}
	next := *m.table.Load()
	next.all = append(next.all[:len(next.all):len(next.all)], patterns...)
	for _, p := range patterns {
		next.most = max(next.most, 8*p.size)
		for _, b := range p.begins() {
			next.first[b] = append(next.first[b][:len(next.first[b]):len(next.first[b])], p)
		}
	}
	m.table.Store(&next)
}

// name adds names of variables whose values are secret though the names do not show it.
func (m *masks) name(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.table.Load()
	next.names = maps.Clone(next.names)
	if next.names == nil {
		next.names = map[string]bool{}
	}
	for _, n := range names {
		next.names[n] = true
	}
	m.table.Store(&next)
}

// mask replaces every secret in text.
func (m *masks) mask(text string) string {
	t := m.table.Load()
	if len(t.all) == 0 {
		return text
	}
	var out strings.Builder
	done := 0
	for i := 0; i < len(text); {
		from, to := i, -1
		for _, p := range t.first[text[i]] {
			if start, end, ok := t.find(p, text, i, done); ok && end > to {
				from, to = start, end // the longest: a secret that contains another must go whole
			}
		}
		if to < 0 {
			i++
			continue
		}
		out.WriteString(text[done:from])
		out.WriteString(masked)
		i, done = to, to
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

// open tells whether text may end in the middle of a secret that the next line continues.
func (m *masks) open(text string) bool {
	t := m.table.Load()
	for i := max(0, len(text)-t.most); i < len(text); i++ {
		for _, p := range t.first[text[i]] {
			if _, how := p.match(text, i); how == partly && p.breaks && p.beginsAlone(text, i) {
				return true
			}
		}
	}
	return false
}

// attr masks an attribute of the log before it is encoded.
func (m *masks) attr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return a
	}
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(m.mask(a.Value.String()))
	case slog.KindAny:
		plain := fmt.Sprint(a.Value.Any())
		if list, ok := a.Value.Any().([]string); ok {
			plain = strings.Join(list, " ")
		}
		if text := m.mask(plain); text != plain {
			a.Value = slog.StringValue(text)
		}
	}
	return a
}

// json masks the values of a JSON text that are strings; it stays JSON.
func (m *masks) json(text []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		end := i + 1
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end+1, len(text))
		var value string
		isKey := strings.HasPrefix(strings.TrimLeft(string(text[end:min(end+8, len(text))]), " \t\r\n"), ":")
		if err := json.Unmarshal(text[i:end], &value); err == nil && !isKey {
			if hidden := m.mask(value); hidden != value {
				quoted, _ := json.Marshal(hidden) // of a string it never fails
				out = append(append(out, text[done:i]...), quoted...)
				done = end
			}
		}
		i = end - 1
	}
	return append(out, text[done:]...)
}

// strength says where a secret is replaced: the weaker it is, the likelier the same text means something else.
type strength int

const (
	anywhere strength = iota // wherever it stands
	alone                    // only where it stands as a word of its own
	named                    // only where the text calls it a secret
)

func strengthOf(secret string) strength {
	n := utf8.RuneCountInString(secret)
	not := func(is func(rune) bool) bool {
		return strings.IndexFunc(secret, func(r rune) bool { return !is(r) }) >= 0
	}
	switch {
	case n < 4:
		return named
	case n < 8, n < 16 && (!not(unicode.IsLetter) || !not(unicode.IsDigit)):
		return alone
	}
	return anywhere
}

// breakable is the least length, in characters, of a secret that is also looked for broken over two lines.
const breakable = 6

// patternsOf gives the patterns of a secret: itself, and its forms in base64. Escapes of each are found as it is matched.
func patternsOf(secret string) []*pattern {
	n := utf8.RuneCountInString(secret)
	own := &pattern{raw: secret, size: len(secret), units: unitsOf(secret), strength: strengthOf(secret), breaks: n >= breakable || strings.Contains(secret, "\n")}
	out := []*pattern{own}
	encoded := func(text string, s strength, wide bool) {
		for _, form := range []string{text, strings.NewReplacer("+", "-", "/", "_").Replace(text)} {
			if len(out) == 1 || out[len(out)-1].raw != form {
				out = append(out, &pattern{raw: form, size: len(form), units: unitsOf(form), strength: s, breaks: true, wide: wide})
			}
		}
	}
	if len(secret) < 8 {
		if len(secret) >= 3 {
			encoded(base64.RawStdEncoding.EncodeToString([]byte(secret)), alone, false)
		}
		return out
	}
	// Behind something else base64 begins at another of three places; the characters at both ends depend on what is around.
	for before := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), secret...))
		encoded(text[(before*8+5)/6:(before+len(secret))*8/6], anywhere, true)
	}
	return out
}

// HideNames adds names of variables whose values are secret though the names do not show it.
func (r *Reporter) HideNames(names ...string) { r.masks.name(names...) }

// HideLogin masks a password and the form in which it stands in a header beside its user's name.
func (r *Reporter) HideLogin(user, password string) {
	r.Hide(password)
	if password != "" {
		r.Hide(base64.StdEncoding.EncodeToString([]byte(user + ":" + password)))
	}
}

// GoesOn tells whether text, which ends with a line, may end in the middle of a secret that the next line continues.
func (r *Reporter) GoesOn(text string) bool { return r.masks.open(text) }
