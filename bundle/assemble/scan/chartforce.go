package scan

import (
	"bytes"
	"regexp"
	"strings"
	"text/template/parse"
)

// Read-only after start.
var holdsObject = regexp.MustCompile(`(?m)^\s*(- )?(kind|image): `)

// forced gives a template in which every condition around an object or an
// image holds, and what stands in its else branch is there too; nil if it has
// no such condition. A condition that only chooses part of a line, or that
// chooses between two images of one container, stays as it is.
func forced(name string, source []byte, off [][]string) []byte {
	if bytes.Contains(source, []byte("define")) || !holdsObject.Match(source) {
		return nil
	}
	tree := parse.New(name)
	tree.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	tree, err := tree.Parse(string(source), "", "", set)
	if err != nil || tree == nil || tree.Root == nil {
		return nil
	}
	f := forcing{}
	for _, path := range off {
		// A subchart sees its values without its name in front.
		for i := range min(2, len(path)) {
			f.off = append(f.off, ".Values."+strings.Join(path[i:], ".")+".")
		}
	}
	f.list(tree.Root)
	if !f.changed {
		return nil
	}
	return []byte(tree.Root.String())
}

type forcing struct {
	off     []string // values that the user switched off
	changed bool
}

// stays tells conditions that say what is known: what the cluster can do, and
// what was switched off on purpose.
func (f *forcing) stays(pipe string) bool {
	for _, word := range strings.FieldsFunc(pipe, func(r rune) bool { return r == ' ' || r == '(' || r == ')' }) {
		for _, off := range f.off {
			if i := strings.Index(word+".", off); i >= 0 && (i == 0 || word[:i] == "$") {
				return true
			}
		}
	}
	return strings.Contains(pipe, ".Capabilities.")
}

func (f *forcing) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	var out []parse.Node
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.IfNode:
			f.list(n.List)
			f.list(n.ElseList)
			object, image := holds(n.List)
			elseObject, elseImage := holds(n.ElseList)
			if !object && !elseObject && (!image || elseImage) || f.stays(n.Pipe.String()) {
				break
			}
			f.changed = true
			out = append(out, n.List.Nodes...)
			if n.ElseList != nil && (elseObject || elseImage) {
				if object || elseObject {
					out = append(out, &parse.TextNode{NodeType: parse.NodeText, Text: []byte("\n---\n")})
				}
				out = append(out, n.ElseList.Nodes...)
			}
			continue
		case *parse.RangeNode:
			f.list(n.List)
		case *parse.WithNode:
			f.list(n.List)
		}
		out = append(out, n)
	}
	list.Nodes = out
}

// holds tells whether the text of a list begins an object or names an image.
func holds(list *parse.ListNode) (object, image bool) {
	if list == nil {
		return false, false
	}
	for _, n := range list.Nodes {
		t, ok := n.(*parse.TextNode)
		if !ok {
			continue
		}
		for _, m := range holdsObject.FindAllSubmatchIndex(t.Text, -1) {
			if string(t.Text[m[4]:m[5]]) == "image" {
				image = true
			} else if m[0] == m[4] {
				object = true
			}
		}
	}
	return object, image
}
