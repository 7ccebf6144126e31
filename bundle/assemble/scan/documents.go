package scan

import (
	"bytes"
	"errors"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// document is one YAML document of a stream; first is its first line there.
type document struct {
	text  string
	first int
}

// maxGuess is how much of a file is looked at to tell its encoding, in bytes.
const maxGuess = 4 << 10

// plainText gives a file's text as UTF-8, without a byte order mark: that of editors and shells of Windows is in UTF-16, or in
// their code page, where images are ASCII. false: it is no text.
func plainText(content []byte) ([]byte, bool) {
	order, marked := unicode.LittleEndian, false
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")):
		marked = true
	case bytes.HasPrefix(content, []byte("\xfe\xff")):
		order, marked = unicode.BigEndian, true
	case bytes.IndexByte(content, 0) >= 0:
		// Without a mark, every other byte of ASCII is zero.
		zeros, pairs := [2]int{}, len(content[:min(len(content), maxGuess)])/2
		for i, c := range content[:2*pairs] {
			if c == 0 {
				zeros[i%2]++
			}
		}
		if zeros[0] > zeros[1] {
			order, zeros[0], zeros[1] = unicode.BigEndian, zeros[1], zeros[0]
		}
		if zeros[0] > 0 || zeros[1] < pairs/2 {
			return nil, false
		}
		marked = true
	}
	if marked {
		text, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(content)
		return text, err == nil && bytes.IndexByte(text, 0) < 0 && len(content)%2 == 0
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	if utf8.Valid(content) {
		return content, true
	}
	for _, c := range content {
		if c < ' ' && bytes.IndexByte([]byte("\t\n\r\f"), c) < 0 {
			return nil, false
		}
	}
	text, err := charmap.Windows1252.NewDecoder().Bytes(content)
	return text, err == nil
}

// read gives the text of a file that holds text; false if it is missing, or is not to be read (an error of the result).
func (s *scanner) read(file string) ([]byte, bool) {
	content, ok := s.readBytes(file)
	if !ok {
		return nil, false
	}
	text, ok := plainText(content)
	if !ok {
		s.fail(file, 0, noText)
	}
	return text, ok
}

const noText = "it holds no text, and is not searched for images: save it as UTF-8, or put its path into .sealignore"

// documents splits a stream itself, so that one bad document does not hide the ones after it.
func documents(text string) []document {
	var out []document
	var lines []string
	first := 1
	flush := func(next int) {
		if doc := strings.Join(lines, "\n"); strings.TrimSpace(doc) != "" {
			out = append(out, document{text: doc, first: first})
		}
		lines, first = nil, next
	}
	n := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case "---":
			flush(n)
			if strings.HasPrefix(strings.TrimSpace(rest), "#") {
				rest = ""
			}
			lines = append(lines, rest)
			continue
		case "...":
			flush(n + 1)
			continue
		}
		if strings.HasPrefix(line, "%YAML") || strings.HasPrefix(line, "%TAG") {
			line = ""
		}
		lines = append(lines, line)
	}
	flush(n + 1)
	return out
}

// parseYAML reads one document (JSON is YAML too). The node is nil for an empty document.
func parseYAML(text string) (*yaml.Node, error) {
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return nil, err
	}
	if node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		return node.Content[0], nil
	}
	return nil, nil
}

// yamlErrorLine gives the line, within the document, that an error names.
func yamlErrorLine(err error) int {
	m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error())
	if m == nil {
		return 1
	}
	n, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		return 1
	}
	return n
}

// yamlMessage is a YAML error without the parser's own position.
func yamlMessage(err error) error {
	msg := regexp.MustCompile(`^yaml: (line \d+: )?`).ReplaceAllString(err.Error(), "")
	return errors.New(strings.TrimSpace(msg))
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	for range 10 {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// get gives a mapping's value, through merge keys; nil if it has none.
func get(m *yaml.Node, key string) *yaml.Node {
	sources := maxMerged
	return getDepth(m, key, 0, &sources)
}

// maxMerged is how many merged mappings one key is looked for in: lists of lists of them multiply.
const maxMerged = 32

func getDepth(m *yaml.Node, key string, depth int, sources *int) *yaml.Node {
	m = resolve(m)
	if m == nil || m.Kind != yaml.MappingNode || depth > 5 || *sources < 0 {
		return nil
	}
	*sources--
	for k, v := range pairs(m) {
		if k.Value == key {
			return resolve(v)
		}
	}
	for k, merged := range pairs(m) {
		if k.Tag != "!!merge" {
			continue
		}
		list := items(merged)
		if list == nil {
			list = []*yaml.Node{merged}
		}
		for _, one := range list {
			if v := getDepth(one, key, depth+1, sources); v != nil {
				return v
			}
		}
	}
	return nil
}

// items gives the elements of a sequence; nil for anything else.
func items(n *yaml.Node) []*yaml.Node {
	if n = resolve(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// pairs gives the keys of a mapping and their values; nothing for anything else.
func pairs(m *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if m = resolve(m); m == nil || m.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if !yield(m.Content[i], m.Content[i+1]) {
				return
			}
		}
	}
}

// text gives a scalar's text; empty for anything else and for null.
func text(n *yaml.Node) string {
	n = resolve(n)
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
		return ""
	}
	return n.Value
}

// scalarLine maps a line inside a scalar (1-based) to the line in the file. Only a literal block keeps its lines; folded and quoted
// text starts where the scalar does.
func scalarLine(n *yaml.Node, inner int) int {
	if n.Line == 0 {
		return 0
	}
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		return n.Line + inner
	case n.Style&yaml.FoldedStyle != 0:
		return n.Line + 1
	}
	return n.Line
}

// unresolved stands in text for a template's value that is not known here.
// It is a private-use character: valid in YAML, never in a reference.
const unresolved = "\ue000"

// Read-only after start.
var (
	templateAction = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	loneAction     = regexp.MustCompile(`^\s*` + unresolved + `+\s*$`)
)

// neutralize makes a Go template readable without rendering it, so that every branch of it is seen and every line keeps its number:
// control actions go away, known values (.KEY and .Env.KEY of env, literals, defaults) are put in, others become the unresolved
// mark.
func neutralize(content string, env map[string]string) string {
	if !strings.Contains(content, "{{") {
		return content
	}
	out := templateAction.ReplaceAllStringFunc(content, func(a string) string {
		return actionValue(strings.Trim(a, "{}"), env) + strings.Repeat("\n", strings.Count(a, "\n"))
	})
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		// A line that was one action only stood for a block, not for a value.
		if loneAction.MatchString(line) {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

// actionValue is what one action prints.
func actionValue(action string, env map[string]string) string {
	action = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(action, "-"), "-"))
	word, _, _ := strings.Cut(action, " ")
	switch word {
	case "if", "else", "end", "range", "with", "define", "block", "template", "break", "continue", "":
		return ""
	}
	if strings.HasPrefix(action, "/*") || strings.HasPrefix(action, "$") && strings.Contains(action, "=") {
		return ""
	}
	value, ok := "", false
	for part := range strings.SplitSeq(action, "|") {
		part = strings.TrimSpace(part)
		switch {
		case part == "quote" || part == "squote" || part == "trim" || part == "toString":
		case strings.HasPrefix(part, "default "):
			fields := strings.Fields(strings.TrimPrefix(part, "default "))
			if len(fields) == 2 { // default LITERAL .KEY
				value, ok = operand(fields[1], env)
			}
			if (!ok || value == "") && len(fields) > 0 {
				value, ok = operand(fields[0], env)
			}
		default:
			value, ok = operand(part, env)
			if !ok && !strings.Contains(action, "default") {
				return unresolved
			}
		}
	}
	if !ok {
		return unresolved
	}
	return value
}

// operand gives the value of a literal or of a variable of env.
func operand(word string, env map[string]string) (string, bool) {
	if len(word) >= 2 && strings.ContainsAny(word[:1], "\"`") && word[len(word)-1] == word[0] {
		return word[1 : len(word)-1], true
	}
	name, ok := strings.CutPrefix(word, ".")
	if !ok {
		return "", false
	}
	name = strings.TrimPrefix(name, "Env.")
	value, ok := env[name]
	return value, ok
}
