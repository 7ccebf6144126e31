package scan

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// whatIsOff is why an image is suspected only that a chart names in a part that its values leave out.
const whatIsOff = "of a part that is off"

// Read-only after start.
var (
	switchKey = regexp.MustCompile(`^(?i:enabled?|create|install|deploy|deployed)$|Enabled$|_enabled?$|^enable[A-Z_]|^(create|install|deploy)[A-Z]`)
	asksAPI   = regexp.MustCompile(`\.(?:APIVersions|apiVersions)\.Has\s+\(?\s*["` + "`" + `]([^"` + "`" + `]+)["` + "`" + `]`)
	// otherVariant are switches that put another build of the same images in
	// the place of the usual one.
	otherVariant = regexp.MustCompile(`(?i)fips|openshift|ubi|distroless|windows|autopilot|marketplace|offline`)
)

// widen renders once more with what is off switched on: subcharts, parts with
// a switch of their own, and what asks for APIs that other charts bring. What
// only comes out then is suspected.
func (r *chartRun) widen(set valueSet) {
	values, _ := r.valuesOf(set)
	ch, err := loader.LoadFiles(r.files)
	if err != nil {
		return // inspect said so
	}
	user, _ := r.valuesOf(set) // what is off there is meant to be off
	switchDependencies(ch, values, nil)
	if err := chartutil.ProcessDependencies(ch, values); err != nil {
		return
	}
	tree, err := commonutil.CoalesceValues(ch, values)
	if err != nil {
		return
	}
	switchOn(tree, user)
	caps := r.caps.Copy()
	instead, off := map[string][]byte{}, switchedOff(user, nil)
	for name, t := range sourcesOf(ch) {
		if !isPartial(name) {
			if other := forced(name, t.Data, off); other != nil {
				instead[name] = other
			}
		}
		for _, m := range asksAPI.FindAllSubmatch(t.Data, -1) {
			if api := string(m[1]); modeOf(api) != builtin {
				caps.APIVersions = append(caps.APIVersions, api)
			}
		}
	}
	slices.Sort(caps.APIVersions)
	top, err := commonutil.ToRenderValuesWithSchemaValidation(ch, tree, release(), caps, true)
	if err != nil {
		return
	}
	out := salvage(ch, top, &missingValues{}, instead, func(error, map[string]*common.File) {})
	r.look(ch, sourcesOf(ch), out, rendered{demote: whatIsOff, quiet: true})
}

// switchDependencies sets the conditions and tags of every subchart.
func switchDependencies(ch *chart.Chart, values map[string]any, prefix []string) {
	for _, dep := range ch.Metadata.Dependencies {
		if dep == nil {
			continue
		}
		for condition := range strings.SplitSeq(dep.Condition, ",") {
			if condition = strings.TrimSpace(condition); condition != "" {
				setPath(values, slices.Concat(prefix, strings.Split(condition, ".")), true)
			}
		}
		for _, tag := range dep.Tags {
			setPath(values, []string{"tags", tag}, true)
		}
		for _, sub := range ch.Dependencies() {
			if sub.Name() != dep.Name {
				continue
			}
			name := dep.Name
			if dep.Alias != "" {
				name = dep.Alias
			}
			switchDependencies(sub, values, append(slices.Clone(prefix), name))
		}
	}
}

// setPath sets a value of a tree that is not set; what is no table on the way
// stays.
func setPath(values map[string]any, path []string, value any) {
	for _, key := range path[:len(path)-1] {
		next, ok := values[key].(map[string]any)
		if !ok {
			if values[key] != nil {
				return
			}
			next = map[string]any{}
			values[key] = next
		}
		values = next
	}
	if values[path[len(path)-1]] == nil {
		values[path[len(path)-1]] = value
	}
}

// switchOn turns every switch of a tree on that is off and not set by user.
func switchOn(values, user map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key].(type) {
		case bool:
			if !v && user[key] == nil && switchKey.MatchString(key) && !otherVariant.MatchString(key) {
				values[key] = true
			}
		case map[string]any:
			if !otherVariant.MatchString(key) {
				inner, _ := user[key].(map[string]any)
				switchOn(v, inner)
			}
		case []any:
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					switchOn(m, nil)
				}
			}
		}
	}
}

// switchedOff lists the tables of a tree that say enabled: false.
func switchedOff(values map[string]any, path []string) [][]string {
	var out [][]string
	if values["enabled"] == false {
		out = append(out, path)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if v, ok := values[key].(map[string]any); ok {
			out = append(out, switchedOff(v, append(slices.Clone(path), key))...)
		}
	}
	return out
}

// Read-only after start.
var holdsObject = regexp.MustCompile(`(?m)^\s*(- )?(kind|image): `)

// forced gives a template in which every condition around an object or an
// image holds, and what stands in its else branch is there too; nil if it has
// no such condition. A condition that only chooses part of a line, or that
// chooses between two images of one container, stays as it is.
func forced(name string, source []byte, off [][]string) []byte {
	if !holdsObject.Match(source) {
		return nil
	}
	tree := parse.New(name)
	tree.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	tree, err := tree.Parse(string(source), "", "", set)
	if err != nil || tree == nil || tree.Root == nil {
		return nil
	}
	f := forcing{defined: set, held: map[string][2]bool{}}
	for _, path := range off {
		// A subchart sees its values without its name in front.
		for i := range min(2, len(path)) {
			f.off = append(f.off, ".Values."+strings.Join(path[i:], ".")+".")
		}
	}
	f.list(tree.Root)
	names := slices.Sorted(maps.Keys(set))
	for _, defined := range names {
		if set[defined] != tree {
			f.list(set[defined].Root)
		}
	}
	if !f.changed {
		return nil
	}
	out := tree.Root.String()
	for _, defined := range names {
		if set[defined] != tree {
			out += "{{define " + strconv.Quote(defined) + "}}" + set[defined].Root.String() + "{{end}}"
		}
	}
	return []byte(out)
}

type forcing struct {
	off     []string               // values that the user switched off
	defined map[string]*parse.Tree // templates that this one defines
	held    map[string][2]bool     // what they hold, once it was looked for
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
			object, image := f.holds(n.List)
			elseObject, elseImage := f.holds(n.ElseList)
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

// includes finds what puts a defined template in. Read-only after start.
var includes = regexp.MustCompile(`\b(?:include|template) ("(?:[^"\\]|\\.)*")`)

// holds tells whether the text of a list begins an object or names an image, or that of a defined template which it includes.
func (f *forcing) holds(list *parse.ListNode) (object, image bool) {
	if list == nil {
		return false, false
	}
	for _, n := range list.Nodes {
		t, ok := n.(*parse.TextNode)
		if !ok {
			if n.Type() != parse.NodeAction && n.Type() != parse.NodeTemplate {
				continue
			}
			for _, m := range includes.FindAllStringSubmatch(n.String(), -1) {
				if name, err := strconv.Unquote(m[1]); err == nil && f.defined[name] != nil {
					if _, known := f.held[name]; !known {
						f.held[name] = [2]bool{} // of one that includes itself
						o, i := f.holds(f.defined[name].Root)
						f.held[name] = [2]bool{o, i}
					}
					object, image = object || f.held[name][0], image || f.held[name][1]
				}
			}
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
