package reference

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// schema is what the page tells of a JSON schema.
type schema struct {
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Type        any               `json:"type"`
	Format      string            `json:"format"`
	Ref         string            `json:"$ref"`
	Enum        []any             `json:"enum"`
	Const       any               `json:"const"`
	Required    []string          `json:"required"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	Values      json.RawMessage   `json:"additionalProperties"`
	AnyOf       []schema          `json:"anyOf"`
	OneOf       []schema          `json:"oneOf"`
	Defs        map[string]schema `json:"$defs"`
}

// Schemas writes a page about JSON schemas, by the names of their files.
func Schemas(files map[string][]byte) (string, error) {
	var b strings.Builder
	b.WriteString(made + "# JSON\n\nThe tables are made from the schemas, which programs can read: they lie in [schemas](../schemas).\n")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var s schema
		if err := json.Unmarshal(files[name], &s); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if s.Title == "" || len(s.Properties) == 0 {
			return "", fmt.Errorf("%s: no schema with a title and properties", name)
		}
		file := strings.TrimSuffix(name, ".schema.json")
		fmt.Fprintf(&b, "\n## %s\n\n%s: [%s](../schemas/%s)\n\n%s\n", file, s.Title, name, name, escape(s.Description))
		properties(&b, file, s)
		for _, def := range slices.Sorted(maps.Keys(s.Defs)) {
			d := s.Defs[def]
			fmt.Fprintf(&b, "\n### %s: %s\n", file, def)
			if d.Description != "" {
				fmt.Fprintf(&b, "\n%s\n", escape(d.Description))
			}
			if len(d.Properties) == 0 {
				fmt.Fprintf(&b, "\n%s\n", d.kind(file))
				continue
			}
			properties(&b, file, d)
		}
	}
	return b.String(), nil
}

func properties(b *strings.Builder, file string, s schema) {
	b.WriteString("\n| field | is | means |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		kind := p.kind(file)
		if slices.Contains(s.Required, name) {
			kind += ", always"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, kind, cell(p.Description))
	}
}

// kind says in words what a value is.
func (s schema) kind(file string) string {
	switch {
	case s.Ref != "":
		def := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return fmt.Sprintf("[%s](#%s-%s)", def, file, strings.ToLower(def))
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case len(s.Enum) > 0:
		var all []string
		for _, v := range s.Enum {
			all = append(all, fmt.Sprintf("`%v`", v))
		}
		return strings.Join(all, " or ")
	case s.Items != nil:
		return "list of " + s.Items.kind(file)
	case len(s.AnyOf)+len(s.OneOf) > 0:
		var all []string
		for _, v := range append(s.AnyOf, s.OneOf...) {
			all = append(all, v.kind(file))
		}
		return strings.Join(all, " or ")
	}
	var values schema
	if json.Unmarshal(s.Values, &values) == nil && (values.Type != nil || values.Ref != "") {
		return "object of " + values.kind(file)
	}
	kinds, ok := s.Type.([]any)
	if !ok {
		kinds = []any{s.Type}
	}
	var all []string
	for _, k := range kinds {
		if k == nil {
			return "anything"
		}
		all = append(all, fmt.Sprint(k))
	}
	if s.Format != "" {
		all = append(all, "("+s.Format+")")
	}
	return strings.Join(all, " ")
}
