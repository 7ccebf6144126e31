// Package templates renders the templates of cluster images and Clusterfiles, and holds the values of --set and --values.
// It is pure.
package templates

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/BurntSushi/toml"
	"github.com/Masterminds/sprig/v3"
	"go.yaml.in/yaml/v3"
)

// Render renders a *.tmpl file of a cluster image. Its data are the keys of env, at top level and as .Env and .Values. A
// key that env lacks is an error that names file, line and key, since "<no value>" in a configuration file shows up at the
// worst time. Where the template itself provides for the lack ({{ if .x }}, {{ .x | default "y" }}) the key is the empty
// text.
func Render(name string, content []byte, env map[string]string) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(templateFuncs()).Parse(string(content))
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	values := map[string]any{}
	for _, tree := range t.Templates() {
		if tree.Tree != nil {
			optional(tree.Root, func(key string) { values[key] = "" })
		}
	}
	for k, v := range env {
		values[k] = v
	}
	data := maps.Clone(values)
	data["Env"], data["Values"] = values, values
	var buf bytes.Buffer
	if err := t.Execute(&buf, data); err != nil {
		return nil, fmt.Errorf("render template: %w (set it with -e KEY=VALUE or in spec.env)", err)
	}
	return buf.Bytes(), nil
}

// optional calls tell with each key whose lack the template provides for.
func optional(n parse.Node, tell func(key string)) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				optional(c, tell)
			}
		}
	case *parse.ActionNode:
		optional(n.Pipe, tell)
	case *parse.IfNode:
		keysOf(n.Pipe, tell)
		optional(&n.BranchNode, tell)
	case *parse.WithNode:
		keysOf(n.Pipe, tell)
		optional(&n.BranchNode, tell)
	case *parse.RangeNode:
		optional(&n.BranchNode, tell)
	case *parse.BranchNode:
		optional(n.Pipe, tell)
		optional(n.List, tell)
		optional(n.ElseList, tell)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			if f, ok := c.Args[0].(*parse.IdentifierNode); ok && slices.Contains(forgiving, f.Ident) {
				keysOf(n, tell)
				return
			}
			for _, a := range c.Args {
				optional(a, tell)
			}
		}
	}
}

// forgiving are the functions that give an empty value a meaning.
var forgiving = []string{"default", "coalesce", "empty", "ternary", "or", "and", "not"}

// keysOf calls tell with every key that a condition or an argument names: .x, .Env.x, .Values.x.
func keysOf(n parse.Node, tell func(key string)) {
	switch n := n.(type) {
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			for _, a := range c.Args {
				keysOf(a, tell)
			}
		}
	case *parse.FieldNode:
		path := n.Ident
		if len(path) == 2 && (path[0] == "Env" || path[0] == "Values") {
			path = path[1:]
		}
		if len(path) == 1 {
			tell(path[0])
		}
	}
}

func templateFuncs() template.FuncMap {
	f := sprig.TxtFuncMap()
	// These read the environment of the installer, not of the host.
	delete(f, "env")
	delete(f, "expandenv")
	f["toYaml"] = func(v any) (string, error) {
		out, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(out), "\n"), err
	}
	f["fromYaml"] = func(s string) (map[string]any, error) {
		m := map[string]any{}
		return m, yaml.Unmarshal([]byte(s), &m)
	}
	f["toToml"] = func(v any) (string, error) {
		var buf bytes.Buffer
		err := toml.NewEncoder(&buf).Encode(v)
		return buf.String(), err
	}
	f["ipNet"] = func(ip, cidr string) (bool, error) {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return false, err
		}
		p, err := netip.ParsePrefix(cidr)
		return p.Contains(a), err
	}
	f["ipAt"] = func(cidr string, n int) (string, error) {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return "", err
		}
		return addrAt(p, n)
	}
	return f
}

// addrAt is the n-th address of an IPv4 prefix, counted from its network address.
func addrAt(p netip.Prefix, n int) (string, error) {
	if !p.Addr().Is4() || n < 0 {
		return "", fmt.Errorf("ipAt %s %d: expected an IPv4 prefix and a number from 0", p, n)
	}
	b := p.Masked().Addr().As4()
	sum := uint64(binary.BigEndian.Uint32(b[:])) + uint64(n)
	if sum > 0xffffffff {
		return "", fmt.Errorf("ipAt %s %d: beyond the address space", p, n)
	}
	binary.BigEndian.PutUint32(b[:], uint32(sum))
	a := netip.AddrFrom4(b)
	if !p.Contains(a) {
		return "", fmt.Errorf("ipAt %s %d: beyond the prefix", p, n)
	}
	return a.String(), nil
}
