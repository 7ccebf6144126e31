package scan

import (
	"encoding/base64"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// configMap looks through a ConfigMap's or Secret's data.
func (w *walker) configMap(m *yaml.Node) {
	w.annotations(get(get(m, "metadata"), "annotations"))
	secret := text(get(m, "kind")) == "Secret"
	for _, field := range []string{"data", "stringData"} {
		values := get(m, field)
		if values == nil || values.Kind != yaml.MappingNode {
			continue
		}
		if field != "data" || !secret {
			w.split(values, "", data)
		}
		for i := 0; i+1 < len(values.Content); i += 2 {
			key, v := values.Content[i].Value, resolve(values.Content[i+1])
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

// isProgram: data under such a file name is a script, prose or a key.
func isProgram(key string) bool {
	switch path.Ext(strings.ToLower(key)) {
	case ".sh", ".py", ".lua", ".js", ".ts", ".md", ".html", ".css", ".pl", ".rb", ".go", ".crt", ".pem", ".key", ".ps1", ".bash":
		return true
	}
	return false
}

// isExample: nothing reads data under such a name.
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
	inner := walker{emit: w.emit, named: w.named, warn: func(int, string) {}, lineOf: outer, env: w.env, demote: demote, texts: w.texts + 1}
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

// parseTOML gives TOML with at least one table or key as a tree; nil if the
// text is not TOML.
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
