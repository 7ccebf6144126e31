package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/templates"
	"go.yaml.in/yaml/v3"
)

// configuredFile is the path of the file that a Config document changes, relative to the root of the image.
func configuredFile(c installer.Config) string {
	return strings.TrimPrefix(path.Clean("/"+c.Path), "/")
}

// UnusedConfigs is an error for each Config document that changes nothing: no image has its file and spec.match names no
// image to make it in, or there is no image of that name. files holds the files of each image, by its name.
func UnusedConfigs(configs []installer.Config, files map[string]map[string]File) error {
	var errs []error
	for _, c := range configs {
		used := false
		for name, has := range files {
			_, plain := has[configuredFile(c)]
			_, template := has[configuredFile(c)+".tmpl"]
			used = used || (c.Match == "" || SameImage(c.Match, name)) && (plain || template || c.Match != "")
		}
		switch {
		case used:
		case c.Match != "":
			//lint:ignore ST1005 that is how the kind of document is spelled
			errs = append(errs, fmt.Errorf("Config %q: spec.match: there is no cluster image %s", c.Name, c.Match))
		default:
			//lint:ignore ST1005 that is how the kind of document is spelled
			errs = append(errs, fmt.Errorf("Config %q: no cluster image has %s; name the image that is to get it in spec.match", c.Name, configuredFile(c)))
		}
	}
	return errors.Join(errs...)
}

// apply gives the content of a file after a Config document was applied to the old one.
func apply(c installer.Config, old []byte) ([]byte, error) {
	data := []byte(c.Data)
	switch c.Strategy {
	case "insert":
		return join(data, old), nil
	case "append":
		return join(old, data), nil
	case "merge":
		if trimmed := bytes.TrimSpace(old); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
			return mergeJSON(trimmed, data)
		}
		return mergeYAML(old, data)
	}
	return data, nil
}

func join(a, b []byte) []byte {
	if len(a) > 0 && !bytes.HasSuffix(a, []byte("\n")) {
		a = append(bytes.Clone(a), '\n')
	}
	return append(bytes.Clone(a), b...)
}

// mergeJSON merges into a JSON file and leaves it JSON: the programs that read it may read nothing else.
func mergeJSON(old, data []byte) ([]byte, error) {
	var base, over map[string]any
	dec := json.NewDecoder(bytes.NewReader(old))
	dec.UseNumber()
	if err := dec.Decode(&base); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(data, &over); err != nil {
		return nil, fmt.Errorf("spec.data: %w", err)
	}
	templates.Merge(base, over)
	out, err := json.MarshalIndent(base, "", "  ")
	return append(out, '\n'), err
}

// mergeYAML merges maps key by key, and replaces all other values; null removes. What it does not change keeps its order,
// its comments and its spelling.
func mergeYAML(old, data []byte) ([]byte, error) {
	base, err := oneMap(old)
	if err != nil {
		return nil, fmt.Errorf("strategy merge needs a file of one YAML or JSON map: %w", err)
	}
	over, err := oneMap(data)
	if err != nil {
		return nil, fmt.Errorf("spec.data: %w", err)
	}
	mergeNodes(base, over)
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(base); err != nil {
		return nil, err
	}
	return buf.Bytes(), enc.Close()
}

// oneMap reads YAML that is one map; empty YAML is an empty map. Anything else is an error.
func oneMap(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("it holds several documents")
		}
		return nil, err
	}
	m := &doc
	if m.Kind == yaml.DocumentNode {
		m = m.Content[0]
	}
	if m.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, nil
	}
	if m.Kind != yaml.MappingNode {
		return nil, errors.New("it is no map")
	}
	// Also finds keys given twice, and anchors that contain themselves.
	var plain map[string]any
	if err := m.Decode(&plain); err != nil || !hasAlias(m) {
		return m, err
	}
	// An alias means nothing any more once its anchor is merged away.
	return m, m.Encode(plain)
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

func mergeNodes(base, over *yaml.Node) {
	for i := 0; i+1 < len(over.Content); i += 2 {
		key, value := over.Content[i], over.Content[i+1]
		at := -1
		for j := 0; j+1 < len(base.Content); j += 2 {
			if base.Content[j].Value == key.Value {
				at = j
			}
		}
		switch {
		case value.Tag == "!!null" && at >= 0:
			base.Content = append(base.Content[:at:at], base.Content[at+2:]...)
		case value.Tag == "!!null":
		case at < 0:
			base.Content = append(base.Content, key, value)
		case value.Kind == yaml.MappingNode && base.Content[at+1].Kind == yaml.MappingNode:
			mergeNodes(base.Content[at+1], value)
		default:
			base.Content[at+1] = value
		}
	}
}
