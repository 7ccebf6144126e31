package kubeadm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CheckFields finds fields of documents that kubeadm, kubelet or kube-proxy would pass over with a warning at most, which is
// how a typing error becomes a wrong cluster. Each is reported as source:line:column. hint says what may have been meant; it is
// given the unknown word and the known ones. Documents of other kinds or versions are left to Render.
func CheckFields(source string, stream []byte, hint func(word string, known []string) string) error {
	var errs []error
	for n, doc := range documents(stream) {
		kind, version := scalar(doc, "kind"), scalar(doc, "apiVersion")
		names, ok := fieldNames[kind][version]
		if !ok || n >= maxDocuments {
			continue
		}
		c := fieldCheck{source: source, kind: kind, hint: hint, known: strings.Fields(names), strict: strings.HasPrefix(version, groupKubeadm)}
		c.object(doc, nil, 0)
		errs = append(errs, c.errs...)
	}
	return errors.Join(errs...)
}

// documents gives the maps of a stream, up to the first error in its YAML: Render reports that.
func documents(stream []byte) []*yaml.Node {
	var out []*yaml.Node
	for dec := yaml.NewDecoder(strings.NewReader(string(stream))); ; {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return out
		}
		if len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
			out = append(out, doc.Content[0])
		}
	}
}

type fieldCheck struct {
	source, kind string
	hint         func(string, []string) string
	known        []string // dotted paths
	strict       bool     // refuse every unknown field, not only one that resembles a known one
	errs         []error
}

// below lists the names that may stand in the map at a path.
func (c *fieldCheck) below(path []string) []string {
	prefix := strings.Join(append(slices.Clone(path), ""), ".")
	var out []string
	for _, k := range c.known {
		if name, ok := strings.CutPrefix(k, prefix); ok && !strings.Contains(name, ".") {
			out = append(out, name)
		}
	}
	switch at := len(path); {
	case at == 0:
		out = append(out, "apiVersion", "kind")
	case strings.HasSuffix(path[at-1], "xtraArgs") || path[at-1] == "extraEnvs":
		out = strings.Fields(argumentFields)
		if path[at-1] == "extraEnvs" {
			out = append(out, "valueFrom")
		}
	case path[at-1] == "extraVolumes":
		out = strings.Fields(volumeFields)
	}
	return out
}

func (c *fieldCheck) object(m *yaml.Node, path []string, depth int) {
	known := c.below(path)
	if len(known) == 0 || depth > maxDepth || len(c.errs) > maxDocuments {
		return
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		if key.Value == patchKey || key.Tag == "!!merge" {
			continue
		}
		here := append(slices.Clone(path), key.Value)
		if !slices.Contains(known, key.Value) {
			c.unknown(key, path, known)
			continue
		}
		fields := c.below(here)
		switch {
		case value.Kind == yaml.ScalarNode && value.Tag != "!!null" && len(fields) > 0:
			c.wrong(value, here, fields)
		case value.Kind == yaml.SequenceNode:
			for _, entry := range value.Content {
				switch {
				case entry.Kind == yaml.MappingNode:
					c.object(entry, here, depth+1)
				case entry.Kind == yaml.ScalarNode && len(fields) > 0:
					c.wrong(entry, here, fields)
				}
			}
		case value.Kind == yaml.MappingNode && !strings.HasSuffix(key.Value, "xtraArgs"): // a map of arguments has their names
			c.object(value, here, depth+1)
		}
	}
}

// wrong tells of a single value where fields were expected.
func (c *fieldCheck) wrong(value *yaml.Node, path, fields []string) {
	slices.Sort(fields)
	c.errs = append(c.errs, &ConfigError{
		Source: fmt.Sprintf("%s:%d:%d", c.source, value.Line, value.Column),
		Err:    fmt.Errorf("%s.%s is a single value: expected fields, as %s", c.kind, strings.Join(path, "."), strings.Join(fields[:min(3, len(fields))], ", ")),
	})
}

func (c *fieldCheck) unknown(key *yaml.Node, path, known []string) {
	hint := c.hint(key.Value, slices.Clone(known))
	if !c.strict && hint == "" {
		return
	}
	where := strings.Join(append([]string{c.kind}, path...), ".")
	c.errs = append(c.errs, &ConfigError{
		Source: fmt.Sprintf("%s:%d:%d", c.source, key.Line, key.Column),
		Err:    fmt.Errorf("unknown field %q in %s%s", key.Value, where, hint),
	})
}
