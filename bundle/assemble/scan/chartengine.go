package scan

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
)

// maxFailing is how many templates may fail before a chart is given up.
const maxFailing = 60

// keyPair has the fields of sprig's certificate.
type keyPair struct{ Cert, Key string }

// cheapFuncs replace what makes keys and hashes: no image depends on them, and they would be most of the time of a scan.
func cheapFuncs() template.FuncMap {
	pair := func(...any) keyPair { return keyPair{Cert: "certificate", Key: "key"} }
	text := func(...any) string { return "key" }
	return template.FuncMap{
		"genCA": pair, "genCAWithKey": pair, "genSelfSignedCert": pair, "genSelfSignedCertWithKey": pair,
		"genSignedCert": pair, "genSignedCertWithKey": pair, "buildCustomCert": pair,
		"genPrivateKey": text, "derivePassword": text, "htpasswd": text, "bcrypt": text,
	}
}

// engineFor gives an engine; a lenient one notes what required and fail say and goes on.
func engineFor(lenient *missingValues) engine.Engine {
	funcs := cheapFuncs()
	if lenient != nil {
		maps.Copy(funcs, lenient.funcs())
	}
	return engine.Engine{CustomTemplateFuncs: funcs}
}

// salvage renders what can be rendered: a template that fails is left out and told to failed. instead holds what to try first in
// the place of templates, by name.
func salvage(
	ch *chart.Chart, top common.Values, lenient *missingValues, instead map[string][]byte, failed func(error, map[string]*common.File),
) map[string]string {
	eng := engineFor(lenient)
	templates := sourcesOf(ch)
	// A rendering that fails gives nothing: templates that were done before the failing one are noted, not rendered again with each
	// failure, and rendered together at the end.
	done := map[string]bool{}
	eng.CustomTemplateFuncs["sealbuildDone"] = func(name string) string {
		done[name] = true
		return ""
	}
	original, tried := map[string][]byte{}, map[string][]byte{}
	try := func(name string, source []byte) {
		tried[name] = source
		templates[name].Data = append(slices.Clone(source), "{{ sealbuildDone "+`"`+name+`"`+" }}"...)
	}
	for name, t := range templates {
		original[name] = t.Data
		if isPartial(name) {
			tried[name] = t.Data
		} else if other := instead[name]; other != nil {
			try(name, other)
		} else {
			try(name, t.Data)
		}
	}
	dropped := map[string]bool{}
	for range maxFailing {
		_, err := eng.Render(ch, top)
		if err == nil {
			break
		}
		failed(err, templates)
		name, _ := placeIn(err.Error(), templates)
		if name == "" || dropped[name] {
			break
		}
		if instead[name] != nil && string(tried[name]) == string(instead[name]) {
			try(name, original[name])
		} else {
			dropped[name] = true
			templates[name].Data = nil
		}
		for name := range done {
			if !strings.Contains(string(original[name]), "define") {
				templates[name].Data = nil
			}
		}
	}
	for name, t := range templates {
		t.Data = tried[name]
		if dropped[name] || !isPartial(name) && !done[name] {
			t.Data = nil
		}
	}
	out, err := eng.Render(ch, top)
	for name, t := range templates {
		t.Data = original[name]
		if dropped[name] || !done[name] {
			delete(out, name)
		}
	}
	if err != nil {
		return nil // a template that works once only
	}
	return out
}

// isPartial tells whether Helm renders a template only where another one includes it.
func isPartial(name string) bool { return strings.HasPrefix(path.Base(name), "_") }

// problem is why a rendering failed.
type problem struct {
	file    string
	line    int
	message string
}

// missingValues replaces Helm's required and fail: they note the message and
// let the rendering go on, so that the other images are still found.
type missingValues struct{ messages []string }

func (m *missingValues) note(message string) {
	if !slices.Contains(m.messages, message) {
		m.messages = append(m.messages, message)
	}
}

func (m *missingValues) funcs() template.FuncMap {
	return template.FuncMap{
		"required": func(message string, value any) (any, error) {
			if text, ok := value.(string); value == nil || ok && text == "" {
				m.note(message)
				return "", nil
			}
			return value, nil
		},
		"fail": func(message string) (string, error) {
			m.note(message)
			return "", nil
		},
	}
}

// alsoMissing gives what required and fail said beyond the problems there are.
func (r *chartRun) alsoMissing(m *missingValues, known []problem) []problem {
	var out []problem
	for _, message := range m.messages {
		said := func(p problem) bool { return strings.Contains(p.message, message) }
		if !slices.ContainsFunc(known, said) {
			out = append(out, problem{file: r.file.path, message: r.doesNotRender(message, "")})
		}
	}
	return out
}

// sourcesOf gives the chart's templates by the names the engine uses.
func sourcesOf(ch *chart.Chart) map[string]*common.File {
	out := map[string]*common.File{}
	for _, t := range ch.Templates {
		out[ch.ChartFullPath()+"/"+t.Name] = t
	}
	for _, dep := range ch.Dependencies() {
		maps.Copy(out, sourcesOf(dep))
	}
	return out
}

// placeIn finds TEMPLATE:LINE in an error of the engine.
func placeIn(message string, templates map[string]*common.File) (name string, line int) {
	for _, m := range regexp.MustCompile(`([^\s"(]+):(\d+)`).FindAllStringSubmatch(message, -1) {
		if templates[m[1]] == nil {
			// A column follows the line: the name took the line along.
			if base, number, ok := cutLast(m[1], ":"); ok && templates[base] != nil {
				if n, err := strconv.Atoi(number); err == nil {
					return base, n
				}
			}
			continue
		}
		if n, err := strconv.Atoi(m[2]); err == nil {
			return m[1], n
		}
	}
	return "", 0
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// explain turns the engine's error into where and which value.
func (r *chartRun) explain(err error, templates map[string]*common.File) problem {
	message := err.Error()
	name, line := placeIn(message, templates)
	p := problem{file: r.file.path, line: line}
	value := ""
	if m := regexp.MustCompile(`<[^<>]*?(\.Values[A-Za-z0-9_.-]+)[^<>]*>`).FindAllStringSubmatch(message, -1); m != nil {
		value = m[len(m)-1][1]
	}
	if name != "" {
		p.file = r.contextPath(name)
		if lines := strings.Split(string(templates[name].Data), "\n"); value == "" && line >= 1 && line <= len(lines) {
			if m := regexp.MustCompile(`required\s+("[^"]*"|\([^)]*\))\s+\(?\s*(\.Values[A-Za-z0-9_.-]+)`).FindStringSubmatch(lines[line-1]); m != nil {
				value = m[2]
			}
		}
	}
	if m := regexp.MustCompile(`(?s)^(?:execution|parse) error at \([^)]*\): (.*)$`).FindStringSubmatch(message); m != nil {
		message = m[1]
	}
	p.message = r.doesNotRender(strings.Join(strings.Fields(message), " "), value)
	return p
}

func (r *chartRun) doesNotRender(message, value string) string {
	out := fmt.Sprintf("chart %s does not render: %s", r.chartName, message)
	if value != "" {
		return out + ": missing value " + value + ", give it in " + r.valuesName()
	}
	return out + " (values go to " + r.valuesName() + ")"
}

// valuesName is the file that gives this chart its values.
func (r *chartRun) valuesName() string {
	dir, _, ok := cutLast(r.file.path, "/")
	if !ok {
		return r.file.name() + ".values.yaml"
	}
	return dir + "/" + r.file.name() + ".values.yaml"
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
