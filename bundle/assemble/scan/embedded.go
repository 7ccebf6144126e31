package scan

import (
	"encoding/base64"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// configMap looks through a ConfigMap's or Secret's data.
func (w *walker) configMap(m *yaml.Node) {
	w.annotations(get(get(m, "metadata"), "annotations"))
	secret := text(get(m, "kind")) == "Secret"
	around := w.scope
	defer func() { w.scope = around }()
	for _, field := range []string{"data", "stringData"} {
		values := get(m, field)
		if values != nil && (field != "data" || !secret) {
			w.split(values, "", data)
			w.scope = w.scopeOf(values, around)
		}
		for k, v := range pairs(values) {
			key, v := k.Value, resolve(v)
			if v == nil || v.Kind != yaml.ScalarNode || isProgram(key) {
				continue
			}
			if secret && field == "data" {
				plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v.Value))
				if err != nil || !utf8.Valid(plain) {
					continue
				}
				decoded := *v
				decoded.Value, decoded.Style = string(plain), 0
				v = &decoded
			}
			if strings.Contains(v.Value, "\n") {
				w.embedded(v, key)
			} else if !w.seen[v] {
				w.loose(v, "data "+key, strings.Contains(strings.ToLower(key), "image"))
			}
		}
	}
}

// isProgram tells whether data under a file name is a script, prose or a key.
func isProgram(key string) bool {
	switch path.Ext(strings.ToLower(key)) {
	case ".sh", ".py", ".lua", ".js", ".ts", ".md", ".html", ".css", ".pl", ".rb", ".go", ".crt", ".pem", ".key", ".ps1", ".bash":
		return true
	}
	return false
}

// isExample tells whether data under a name is an example, which nothing reads.
func isExample(key string) bool {
	for _, word := range keyWords(key) {
		if word == "example" || word == "examples" || word == "sample" {
			return true
		}
	}
	return false
}

// embedded looks through text inside a scalar: YAML, JSON, TOML, or lines.
func (w *walker) embedded(n *yaml.Node, key string) {
	if w.texts >= maxText || len(n.Value) > maxManifest || isProgram(key) {
		return
	}
	w.budget -= len(n.Value) / 1000
	outer := func(line int) int {
		at := scalarLine(n, line)
		if at == 0 {
			return 0
		}
		return w.lineOf(at)
	}
	demote := w.demote
	if demote == "" && isExample(key) {
		demote = "of an example"
	}
	inner := walker{
		emit: w.emit, named: w.named, warn: func(int, string) {}, lineOf: outer, env: w.env, demote: demote, texts: w.texts + 1,
		scope: scope{registry: w.scope.registry, unsure: w.scope.unsure, override: w.scope.override, tag: w.scope.tag},
	}
	inner.text(n.Value)
}

// text looks through text of an unknown format.
func (w *walker) text(content string) {
	if strings.Contains(content, "{{") {
		content = neutralize(content, w.env)
	}
	if strings.HasPrefix(strings.TrimSpace(content), "#!") {
		return
	}
	if node := parseTOML(content); node != nil {
		// The tree has no lines: look each reference up in the text.
		at := w.lineOf
		inner := *w
		inner.emit = func(f finding) {
			f.line = at(lineWith(content, f.text))
			w.emit(f)
		}
		inner.run(node, data)
		return
	}
	for _, doc := range documents(content) {
		inner := *w
		inner.lineOf = func(line int) int { return w.lineOf(doc.first - 1 + line) }
		node, err := parseYAML(doc.text)
		if err != nil || node == nil || node.Kind == yaml.ScalarNode {
			inner.lines(doc.text)
			continue
		}
		inner.run(node, data)
	}
}

// parseTOML gives TOML with at least one table or key as a tree; nil if the text is not TOML.
func parseTOML(content string) *yaml.Node {
	if !strings.Contains(content, "=") {
		return nil
	}
	var values map[string]any
	if _, err := toml.Decode(content, &values); err != nil || len(values) == 0 {
		return nil
	}
	var node yaml.Node
	if err := node.Encode(values); err != nil {
		return nil
	}
	return &node
}

// lineWith is the first line that holds part, 1 if none does.
func lineWith(content, part string) int {
	if i := strings.Index(content, part); i >= 0 {
		return 1 + strings.Count(content[:i], "\n")
	}
	return 1
}

// keyValue is KEY: VALUE or KEY=VALUE, also as a list's item. Read-only.
var keyValue = regexp.MustCompile(`^(?:-\s+)*["']?([A-Za-z0-9_.-]+)["']?\s*[:=]\s*(.*)$`)

// lines is the scanner for text that no parser takes: broken YAML, templates, properties. It takes KEY: VALUE and KEY=VALUE where
// the key says image, and words that are pinned references with their registry.
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
				w.unresolved(at, value, false)
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
