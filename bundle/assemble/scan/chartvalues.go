package scan

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// lineStride separates the lines of the files that a tree of values is merged from: node N of file F has the line F*lineStride+N.
const lineStride = 1 << 24

// valueTree is the values of a chart with the file and line of each.
type valueTree struct{ files []string }

// read parses a file's values into the tree's numbering; nil for none.
func (v *valueTree) read(file string, content []byte) *yaml.Node {
	node, err := parseYAML(string(trimBOM(content)))
	if err != nil || node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	v.number(node, len(v.files)*lineStride, 0)
	v.files = append(v.files, file)
	return node
}

func (v *valueTree) number(n *yaml.Node, offset, depth int) {
	if n == nil || depth > maxNesting || n.Line >= lineStride {
		return
	}
	n.Line += offset
	for _, c := range n.Content {
		v.number(c, offset, depth+1)
	}
}

// place tells the file and line of a numbered line.
func (v *valueTree) place(line int) (string, int) {
	if i := line / lineStride; i < len(v.files) {
		return v.files[i], line % lineStride
	}
	return "", 0
}

// overlay gives base with over on top, as Helm merges tables: null takes a key away.
func overlay(base, over *yaml.Node, depth int) *yaml.Node {
	base, over = resolve(base), resolve(over)
	if base == nil || over == nil || depth > maxNesting || base.Kind != yaml.MappingNode || over.Kind != yaml.MappingNode {
		if over == nil {
			return base
		}
		return over
	}
	out := *base
	out.Content = slices.Clone(base.Content)
	for key, value := range pairs(over) {
		at := -1
		for j := 0; j+1 < len(out.Content); j += 2 {
			if out.Content[j].Value == key.Value {
				at = j
			}
		}
		switch {
		case at < 0:
			out.Content = append(out.Content, key, value)
		case resolve(value) != nil && resolve(value).Tag == "!!null":
			out.Content = slices.Delete(out.Content, at, at+2)
		default:
			out.Content[at+1] = overlay(out.Content[at+1], value, depth+1)
		}
	}
	return &out
}

// without gives a mapping without some keys.
func without(m *yaml.Node, keys map[string]bool) *yaml.Node {
	out := *m
	out.Content = nil
	for key, value := range pairs(m) {
		if !keys[key.Value] {
			out.Content = append(out.Content, key, value)
		}
	}
	return &out
}

// cut gives a mapping without what lies at a path.
func cut(m *yaml.Node, path []string) *yaml.Node {
	if len(path) == 1 {
		return without(m, map[string]bool{path[0]: true})
	}
	inner := get(m, path[0])
	if inner == nil || inner.Kind != yaml.MappingNode {
		return m
	}
	out := *m
	out.Content = slices.Clone(m.Content)
	for i := 0; i+1 < len(out.Content); i += 2 {
		if out.Content[i].Value == path[0] {
			out.Content[i+1] = cut(inner, path[1:])
		}
	}
	return &out
}

// valuesOfParts looks through the values themselves, those of subcharts too,
// for images that no rendering named: they are suspected.
func (r *chartRun) valuesOfParts(set valueSet) {
	ch, err := loader.LoadFiles(r.files)
	if err != nil {
		return // inspect said so
	}
	tree := &valueTree{}
	var over *yaml.Node
	for _, f := range set.files {
		if n := tree.read(f.path, f.text); n != nil {
			over = overlay(over, n, 0)
		}
	}
	if user := (map[string]any{}); len(set.sets) > 0 {
		for _, o := range set.sets {
			_ = o.into(user) // a rendering said what is wrong with it
		}
		if text, err := yaml.Marshal(user); err == nil {
			over = overlay(over, tree.read(r.file.path, text), 0)
		}
	}
	known := r.knownImages()
	r.annotated(ch, r.file.path, known)
	var findings []finding
	r.valuesOfChart(ch, tree, over, r.file.path, nil, func(f finding) { findings = append(findings, f) })
	for _, f := range findings {
		file, line := tree.place(f.line)
		if f.line = line; !known.has(f) {
			r.add(file, f)
		}
	}
}

func (r *chartRun) valuesOfChart(ch *chart.Chart, tree *valueTree, over *yaml.Node, dir string, at []string, emit func(finding)) {
	if len(at) > maxChartNesting {
		return
	}
	values := over
	for _, f := range ch.Raw {
		if f.Name == "values.yaml" {
			values = overlay(tree.read(path.Join(dir, f.Name), f.Data), over, 0)
		}
	}
	parts := map[string]bool{}
	for _, sub := range ch.Dependencies() {
		for _, name := range namesOf(ch, sub) {
			parts[name] = true
			if slices.ContainsFunc(r.off, func(off []string) bool { return slices.Equal(off, append(slices.Clone(at), name)) }) {
				continue
			}
			r.valuesOfChart(sub, tree, get(values, name), path.Join(dir, "charts", sub.Name()), append(slices.Clone(at), name), emit)
		}
	}
	if values == nil || values.Kind != yaml.MappingNode {
		return
	}
	values = without(values, parts)
	for _, off := range r.off {
		if rest := len(at); len(off) > rest && slices.Equal(off[:rest], at) {
			values = cut(values, off[rest:])
		}
	}
	w := walker{
		emit: emit, warn: func(int, string) {}, lineOf: func(line int) int { return line },
		env: r.env, demote: "of the chart's values", appVersion: appVersion(ch), chartName: ch.Name(),
	}
	w.run(values, data)
}

// Read-only after start.
var prefixedVersion = regexp.MustCompile(`"v%s"[^}]*AppVersion|v\{\{-?\s*(\$?\.|\$)Chart\.AppVersion|"v"\s+\.Chart\.AppVersion`)

// appVersion is the tag that a chart gives its images where its values do not.
func appVersion(ch *chart.Chart) string {
	v := ch.Metadata.AppVersion
	if v == "" || strings.HasPrefix(v, "v") {
		return v
	}
	for _, t := range ch.Templates {
		if prefixedVersion.Match(t.Data) {
			return "v" + v
		}
	}
	return v
}

// knownImages is what renderings found, by repository.
type knownImages map[string][]reference.Named // last component of the path

func (r *chartRun) knownImages() knownImages {
	out := knownImages{}
	for ref := range r.found {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil {
			p := reference.Path(named)
			last := p[strings.LastIndexByte(p, '/')+1:]
			out[last] = append(out[last], named)
		}
	}
	return out
}

// has tells whether a value's reference was found already, maybe below the
// registry and with the tag's ending that the chart puts around it.
func (k knownImages) has(f finding) bool {
	named, err := reference.ParseNormalizedNamed(trimRef(f.text))
	if err != nil {
		return true
	}
	p := strings.TrimPrefix(reference.Path(named), "library/")
	tag := ""
	if t, ok := named.(reference.Tagged); ok && !f.guessed {
		tag = t.Tag()
	}
	for _, ref := range k[p[strings.LastIndexByte(p, '/')+1:]] {
		have := reference.Path(ref)
		if have != p && !strings.HasSuffix(have, "/"+p) && !strings.HasSuffix(p, "/"+have) {
			continue
		}
		t, ok := ref.(reference.Tagged)
		if tag == "" || ok && (t.Tag() == tag || strings.HasPrefix(t.Tag(), tag+"-")) {
			return true
		}
	}
	return false
}

// unrendered searches the text of templates that no rendering managed, with
// the values that stand in it as they are: what is found there is suspected.
func (r *chartRun) unrendered(set valueSet) {
	ch, err := loader.LoadFiles(r.files)
	if err != nil {
		return // inspect said so
	}
	values, _ := r.valuesOf(set)
	tree, err := commonutil.CoalesceValues(ch, values)
	if err != nil {
		tree = common.Values{}
	}
	user, _ := r.valuesOf(set)
	r.off = switchedOff(user, nil)
	r.unrenderedOf(ch, tree, ch.ChartFullPath(), nil)
}

// unrenderedOf looks through one chart; prefix is the engine's name of it, at the path of its values.
func (r *chartRun) unrenderedOf(ch *chart.Chart, values common.Values, prefix string, at []string) {
	if slices.ContainsFunc(r.off, func(off []string) bool { return len(at) > 0 && slices.Equal(off, at) }) {
		return
	}
	var env map[string]string
	for _, t := range ch.Templates {
		name := prefix + "/" + t.Name
		if r.rendered[name] || isPartial(name) || strings.HasSuffix(name, ".txt") {
			continue
		}
		if env == nil {
			env = map[string]string{"Chart.AppVersion": ch.Metadata.AppVersion, "Chart.Version": ch.Metadata.Version, "Chart.Name": ch.Name()}
			flatten(values, "Values", env, 0)
		}
		r.once(name, neutralize(string(t.Data), env), rendered{
			lineOf: func(line int) int { return line }, demote: "of a template that does not render", quiet: true,
		})
	}
	for _, sub := range ch.Dependencies() {
		for _, name := range namesOf(ch, sub) {
			inner, err := values.Table(name)
			if err != nil {
				inner = common.Values{}
			}
			r.unrenderedOf(sub, inner, prefix+"/charts/"+name, append(slices.Clone(at), name))
		}
	}
}

// namesOf gives the names that a subchart's values stand under.
func namesOf(ch, sub *chart.Chart) []string {
	var names []string
	for _, dep := range ch.Metadata.Dependencies {
		switch {
		case dep == nil || dep.Name != sub.Name():
		case dep.Alias != "":
			names = append(names, dep.Alias)
		default:
			names = append(names, dep.Name)
		}
	}
	if len(names) == 0 {
		names = append(names, sub.Name())
	}
	return names
}

// flatten puts the plain values of a tree into env, by their dotted paths.
func flatten(values map[string]any, prefix string, env map[string]string, depth int) {
	if depth > maxNesting {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key].(type) {
		case map[string]any:
			flatten(v, prefix+"."+key, env, depth+1)
		case string, bool, int, int64, float64:
			env[prefix+"."+key] = fmt.Sprint(v)
		}
	}
}

// imageAnnotations hold, as YAML text, the list of images that a chart uses:
// Artifact Hub's, and the one that chart repositories used before it.
var imageAnnotations = []string{"artifacthub.io/images", "images", "helm.sh/images"} // read-only after start

// annotated takes the images that Chart.yaml lists. A list outlives what it
// was written for: its images are suspected, and those of subcharts too.
func (r *chartRun) annotated(ch *chart.Chart, dir string, known knownImages) {
	for _, f := range ch.Raw {
		if f.Name == "Chart.yaml" {
			r.annotationsIn(path.Join(dir, f.Name), f.Data, known)
		}
	}
	for _, sub := range ch.Dependencies() {
		r.annotated(sub, path.Join(dir, "charts", sub.Name()), known)
	}
}

func (r *chartRun) annotationsIn(file string, content []byte, known knownImages) {
	root, err := parseYAML(string(content))
	if err != nil {
		return // the loader said so
	}
	annotations := get(root, "annotations")
	for _, key := range imageAnnotations {
		list := get(annotations, key)
		inner, err := parseYAML(text(list))
		if err != nil {
			continue
		}
		for _, item := range items(inner) {
			image := resolve(item)
			if image.Kind == yaml.MappingNode {
				image = get(item, "image")
			}
			f := finding{text: text(image), certainty: Suspected, reason: "annotation " + key + " of the chart"}
			if s, ok := shapeOf(f.text); !ok || !s.pinned() || known.has(f) {
				continue
			}
			f.line = scalarLine(list, image.Line)
			r.add(file, f)
		}
	}
}
