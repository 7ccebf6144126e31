package installer

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// FieldError is something wrong at one place of a file.
type FieldError struct {
	File         string
	Line, Column int // from 1
	Message      string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// fields checks documents of one file against the types they are decoded into.
type fields struct {
	file  string
	errs  []error
	nodes int // looked at so far
}

// Bounds of what is checked: aliases can make much of a small file.
const (
	maxNodes       = 1 << 20
	maxFieldErrors = 50
)

func (f *fields) fail(n *yaml.Node, format string, args ...any) {
	f.errs = append(f.errs, &FieldError{f.file, n.Line, n.Column, fmt.Sprintf(format, args...)})
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// check compares a node with a type; where is the node's place in words: "spec.hosts[1]".
func (f *fields) check(n *yaml.Node, t reflect.Type, where string) {
	if f.nodes++; f.nodes > maxNodes || len(f.errs) >= maxFieldErrors {
		if f.nodes == maxNodes+1 {
			f.fail(n, "more than %d values", maxNodes)
		}
		return
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Tag == "!!null" || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if f.is(n, yaml.MappingNode, where) {
			f.fields(n, t, where)
		}
	case reflect.Map:
		if f.is(n, yaml.MappingNode, where) {
			for i := 0; i+1 < len(n.Content); i += 2 {
				f.check(n.Content[i+1], t.Elem(), dotted(where, n.Content[i].Value))
			}
		}
	case reflect.Slice:
		if f.is(n, yaml.SequenceNode, where) {
			for i, c := range n.Content {
				f.check(c, t.Elem(), fmt.Sprintf("%s[%d]", where, i))
			}
		}
	default:
		if f.is(n, yaml.ScalarNode, where) && n.Decode(reflect.New(t).Interface()) != nil {
			f.fail(n, "%s is %q: expected %s", where, n.Value, kindName(t.Kind()))
		}
	}
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.Int:
		return "a number"
	case reflect.Bool:
		return "true or false"
	}
	return "text"
}

func dotted(where, name string) string {
	if where == "" {
		return name
	}
	return where + "." + name
}

func (f *fields) is(n *yaml.Node, want yaml.Kind, where string) bool {
	if n.Kind == want {
		return true
	}
	names := map[yaml.Kind]string{yaml.MappingNode: "a map", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}
	if where == "" {
		where = "the document"
	}
	f.fail(n, "%s is %s: expected %s", where, names[n.Kind], names[want])
	return false
}

func (f *fields) fields(n *yaml.Node, t reflect.Type, where string) {
	known := map[string]reflect.Type{}
	collect(t, known)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := known[key.Value]
		switch {
		case key.Tag == "!!merge":
			f.check(value, t, where)
		case !ok:
			f.fail(key, "unknown field %q%s%s", key.Value, in(where), DidYouMean(key.Value, slices.Collect(maps.Keys(known))))
		case seen[key.Value]:
			f.fail(key, "field %q%s is given twice", key.Value, in(where))
		default:
			f.check(value, field, dotted(where, key.Value))
		}
		seen[key.Value] = true
	}
}

func in(where string) string {
	if where == "" {
		return ""
	}
	return " in " + where
}

// collect lists the YAML fields of a struct, those of inlined ones included.
func collect(t reflect.Type, into map[string]reflect.Type) {
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if strings.Contains(options, "inline") {
			collect(field.Type, into)
			continue
		}
		into[name] = field.Type
	}
}

// DidYouMean ends a message about an unknown word with the known one that is
// nearest to it, or with all of them when they are few.
func DidYouMean(word string, known []string) string {
	slices.Sort(known)
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(": did you mean %q?", best)
	case len(known) > 0 && len(known) <= 12:
		return ": known are " + strings.Join(known, ", ")
	}
	return ""
}

// distance is how many letters must be put in, taken out, changed or swapped with their neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}

// decode reads one document strictly.
func decode(file string, doc *yaml.Node, into any) error {
	f := fields{file: file}
	f.check(doc, reflect.TypeOf(into), "")
	if len(f.errs) > 0 {
		return errors.Join(f.errs...)
	}
	if err := doc.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
