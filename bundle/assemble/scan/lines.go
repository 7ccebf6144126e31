package scan

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keyValue is KEY: VALUE or KEY=VALUE, also as a list's item. Read-only.
var keyValue = regexp.MustCompile(`^(?:-\s+)*["']?([A-Za-z0-9_.-]+)["']?\s*[:=]\s*(.*)$`)

// lines is the scanner for text that no parser takes: broken YAML, templates,
// properties. It takes KEY: VALUE and KEY=VALUE where the key says image, and
// words that are pinned references with their registry.
func (w *walker) lines(content string) {
	n := 0
	for line := range strings.SplitSeq(content, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") || strings.HasPrefix(line, ";") || len(line) > 4096 {
			continue
		}
		line, _, _ = strings.Cut(line, " #")
		at := &yaml.Node{Line: n}
		m := keyValue.FindStringSubmatch(line)
		if m == nil {
			item := strings.TrimSpace(strings.TrimPrefix(line, "-"))
			if strict(item) {
				w.report(item, at, Suspected, "word of a line")
				continue
			}
			w.quotedRefs(line, at)
			continue
		}
		key, value := m[1], strings.TrimSuffix(strings.TrimSpace(m[2]), ",")
		value = w.expanded(trimRef(value))
		switch {
		case strings.ContainsAny(value, " \t"):
			w.quotedRefs(line, at)
		case value == "":
		case strings.Contains(value, unresolved):
			if isImageKey(key) {
				w.unresolved(at, value)
			}
		case isImageKey(key):
			s, ok := shapeOf(value)
			if !ok || !s.explicit() && !s.path && (w.texts > 0 || strings.Contains(value, ".")) {
				continue // a word: a variable of the text's language
			}
			c := Suspected
			if key == "image" && s.explicit() && w.texts == 0 {
				c = Certain
			}
			w.report(value, at, c, "line "+key+": in text that does not parse")
		default:
			for _, ref := range looseRefs(value, w.named) {
				w.report(ref, at, Suspected, "value of "+key)
			}
		}
	}
}

// quotedWord is a word in quotes. Read-only after start.
var quotedWord = regexp.MustCompile(`"([^"\s]+)"|'([^'\s]+)'`)

// quotedRefs takes the words of a line that are in quotes and name an image
// in full: text of other languages holds images like that.
func (w *walker) quotedRefs(line string, at *yaml.Node) {
	for _, m := range quotedWord.FindAllStringSubmatch(line, 20) {
		if word := m[1] + m[2]; strict(word) && strings.Contains(word, "/") {
			w.report(word, at, Suspected, "quoted word of a line")
		}
	}
}
