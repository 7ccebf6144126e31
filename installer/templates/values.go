package templates

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/template"

	"github.com/sealbuild/sealbuild/installer"
	"go.yaml.in/yaml/v3"
)

// Values are the data, as .Values, of a Clusterfile that is a template.
type Values map[string]any

// maxIndex bounds the index of a list in --set.
const maxIndex = 1024

// AddFile lays a YAML file over the values, see [Merge].
func (v Values) AddFile(name string, data []byte) error {
	var over map[string]any
	if err := yaml.Unmarshal(data, &over); err != nil {
		if _, other := errors.AsType[*yaml.TypeError](err); other {
			return fmt.Errorf("values file %s: it holds something else than values: expected a line for each, as name: value", name)
		}
		return fmt.Errorf("values file %s: it is no YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	Merge(v, over)
	return nil
}

// Merge lays over upon base: maps are merged, null removes a key, and all else replaces.
func Merge(base, over map[string]any) {
	for k, o := range over {
		om, isMap := o.(map[string]any)
		bm, wasMap := base[k].(map[string]any)
		switch {
		case o == nil:
			delete(base, k)
		case isMap && wasMap:
			Merge(bm, om)
		case isMap:
			fresh := map[string]any{}
			Merge(fresh, om)
			base[k] = fresh
		default:
			base[k] = o
		}
	}
}

// Set reads an argument of --set: a.b=1,list[0]=x,names={a,b}. After a backslash, a comma, a dot or another special
// character has no meaning. true, false, null and whole numbers are what they say. All else is text, and so is what stands
// in double quotes.
func (v Values) Set(argument string) error {
	for _, pair := range cutUnescaped(argument, ',') {
		key, value, ok := cutOnce(pair, '=')
		if !ok || strings.TrimSpace(key) == "" {
			return fmt.Errorf("%q: expected KEY=VALUE", pair)
		}
		path, err := parsePath(key)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		if _, err := place(map[string]any(v), path, parseValue(value)); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return nil
}

// cutUnescaped splits at a separator, but not where that is escaped or stands within braces or quotes.
func cutUnescaped(s string, sep byte) []string {
	var out []string
	start, braces, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '{':
			braces++
		case s[i] == '}':
			braces--
		case s[i] == sep && braces <= 0:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[min(start, len(s)):])
}

func cutOnce(s string, sep byte) (before, after string, ok bool) {
	first := cutUnescaped(s, sep)[0]
	if len(first) == len(s) {
		return s, "", false
	}
	return first, s[len(first)+1:], true
}

// parsePath reads a.b[2].c into keys (string) and indexes (int).
func parsePath(key string) ([]any, error) {
	var path []any
	for _, part := range cutUnescaped(strings.TrimSpace(key), '.') {
		name, rest := part, ""
		if i := strings.IndexByte(part, '['); i >= 0 {
			name, rest = part[:i], part[i:]
		}
		if name == "" && (rest == "" || len(path) == 0) {
			return nil, errors.New("a name is empty")
		}
		if name != "" {
			path = append(path, unescape(name))
		}
		for rest != "" {
			inner, after, ok := strings.Cut(strings.TrimPrefix(rest, "["), "]")
			n, err := strconv.Atoi(inner)
			if !ok || rest[0] != '[' || err != nil || n < 0 || n > maxIndex {
				return nil, fmt.Errorf("index %q: expected [0] to [%d]", rest, maxIndex)
			}
			path = append(path, n)
			rest = after
		}
	}
	return path, nil
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func parseValue(s string) any {
	if inner, ok := strings.CutPrefix(s, "{"); ok && strings.HasSuffix(inner, "}") {
		list := []any{}
		if inner = strings.TrimSuffix(inner, "}"); inner != "" {
			for _, item := range cutUnescaped(inner, ',') {
				list = append(list, parseValue(item))
			}
		}
		return list
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return unescape(s[1 : len(s)-1])
	}
	switch s {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	// A leading zero is of an identifier, not of a number.
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
		return n
	}
	return unescape(s)
}

// place puts a value at a path below at. It returns what is there then.
func place(at any, path []any, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch step := path[0].(type) {
	case int:
		list, ok := at.([]any)
		if !ok && at != nil {
			return nil, errors.New("an index into something that is no list")
		}
		for len(list) <= step {
			list = append(list, nil)
		}
		below, err := place(list[step], path[1:], value)
		list[step] = below
		return list, err
	case string:
		m, ok := at.(map[string]any)
		if !ok && at != nil {
			return nil, fmt.Errorf("%s is to be set in something that is no map", step)
		}
		if m == nil {
			m = map[string]any{}
		}
		below, err := place(m[step], path[1:], value)
		if err != nil {
			return nil, err
		}
		if below == nil {
			delete(m, step)
		} else {
			m[step] = below
		}
		return m, nil
	}
	return at, nil
}

// RenderClusterfile renders a Clusterfile that is a template. For a value that is missing, the error names the place.
func RenderClusterfile(name string, data []byte, values Values) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(templateFuncs()).Parse(string(data))
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	var buf bytes.Buffer
	if err := t.Execute(limitWriter{&buf, installer.MaxClusterfile}, map[string]any{"Values": map[string]any(values)}); err != nil {
		return nil, fmt.Errorf("%s (give it with --set or --values)", strings.TrimPrefix(err.Error(), "template: "))
	}
	return buf.Bytes(), nil
}

// limitWriter refuses to hold more than limit bytes.
type limitWriter struct {
	buf   *bytes.Buffer
	limit int
}

func (w limitWriter) Write(p []byte) (int, error) {
	if w.buf.Len()+len(p) > w.limit {
		return 0, fmt.Errorf("more than %d bytes come out of it", w.limit)
	}
	return w.buf.Write(p)
}
