package scan

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"k8s.io/client-go/kubernetes/scheme"
)

// chartRun is the work on one chart.
type chartRun struct {
	*scanner
	file      chartFile
	files     []*archive.BufferedFile
	chartName string
	caps      *common.Capabilities
	scanned   map[string]bool // streams looked through already
	off       [][]string      // what the values beside the chart switch off
	rendered  map[string]bool // templates that rendered, by the engine's name
}

// chartFault says why Helm does not read a chart, without the ways by which its libraries read YAML.
func chartFault(err error) string {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "cannot load "); ok {
		if file, why, ok := strings.Cut(rest, ": "); ok {
			if at := strings.LastIndex(why, "yaml: "); at >= 0 {
				return file + " is no YAML: " + why[at+len("yaml: "):]
			}
		}
	}
	return text
}

// inspect checks what Helm checks before it renders; false if there is nothing to render.
func (r *chartRun) inspect() bool {
	ch, err := loader.LoadFiles(r.files)
	if err != nil {
		r.fail(r.file.path, 0, "chart not read: "+chartFault(err))
		return false
	}
	r.chartName = ch.Name()
	if ch.Metadata.Type == "library" {
		return false
	}
	if r.caps, err = capabilities(r.kubeVersion); err != nil {
		r.warn(r.file.path, 0, err.Error()+": rendered for "+DefaultKubeVersion)
		if r.caps, err = capabilities(DefaultKubeVersion); err != nil {
			r.fail(r.file.path, 0, err.Error())
			return false
		}
	}
	r.noteChart(r.caps.KubeVersion.String(), asksForVersion(ch))
	if want := ch.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, r.caps.KubeVersion.String()) {
		r.warn(path.Join(r.file.path, "Chart.yaml"), 0,
			fmt.Sprintf("chart %s wants Kubernetes %s, the target is %s", ch.Name(), want, r.caps.KubeVersion.String()))
	}
	var missing []string
	for _, dep := range ch.Metadata.Dependencies {
		if dep != nil && !slices.ContainsFunc(ch.Dependencies(), func(c *chart.Chart) bool { return c.Name() == dep.Name }) {
			missing = append(missing, dep.Name)
		}
	}
	if len(missing) > 0 {
		r.fail(path.Join(r.file.path, "Chart.yaml"), 0, fmt.Sprintf("chart %s: its charts/ directory lacks the dependencies %s (helm dependency build)",
			ch.Name(), strings.Join(missing, ", ")))
	}
	return true
}

// asksForVersion tells whether a template of a chart, or of a chart in it, can know the Kubernetes version: it must say so by name.
func asksForVersion(ch *chart.Chart) bool {
	return slices.ContainsFunc(ch.Templates, func(f *common.File) bool { return bytes.Contains(f.Data, []byte("Capabilities")) }) ||
		slices.ContainsFunc(ch.Dependencies(), asksForVersion)
}

// otherPlatform are values files for platforms that are not installed by us.
// They count where a command names them. Read-only after start.
var otherPlatform = regexp.MustCompile(`openshift|okd|marketplace|gke|eks|aks|aws|azure|gcp|windows|minikube|kind`)

// valuesInside gives the other values files a chart's author ships in it.
func (r *chartRun) valuesInside() []valuesFile {
	var out []valuesFile
	for _, f := range r.files {
		name := strings.ToLower(f.Name)
		if strings.Contains(name, "/") || name == "values.yaml" || !strings.Contains(name, "values") || otherPlatform.MatchString(name) {
			continue
		}
		if ext := path.Ext(name); ext == ".yaml" || ext == ".yml" {
			out = append(out, valuesFile{path: path.Join(r.file.path, f.Name), text: f.Data})
		}
	}
	return out
}

// render renders with one set of values and looks through the outcome. What went wrong comes back; what can still be rendered is
// rendered: a required value that is missing becomes empty, a template that fails is left out.
func (r *chartRun) render(set valueSet, demote string, again bool) []problem {
	values, problems := r.valuesOf(set)
	ch, top, err := r.prepare(values, false)
	if err != nil {
		return append(problems, problem{file: r.file.path, message: "chart " + r.chartName + " does not render: " + err.Error()})
	}
	templates := sourcesOf(ch)
	out, err := engineFor(nil).Render(ch, top)
	if err == nil {
		r.look(ch, templates, out, rendered{demote: demote})
		return problems
	}
	problems = append(problems, r.explain(err, templates))
	if !again {
		return problems
	}
	if ch, top, err = r.prepare(values, true); err != nil {
		return problems
	}
	lenient := &missingValues{}
	out = salvage(ch, top, lenient, nil, func(err error, templates map[string]*common.File) {
		// What else fails in a template follows from its first failure.
		found := r.explain(err, templates)
		if !slices.ContainsFunc(problems, func(p problem) bool { return p.file == found.file }) {
			problems = append(problems, found)
		}
	})
	r.look(ch, sourcesOf(ch), out, rendered{demote: demote, patched: true})
	return append(problems, r.alsoMissing(lenient, problems)...)
}

// release is what charts are told that they are installed as. Some refuse the namespace default.
func release() common.ReleaseOptions {
	return common.ReleaseOptions{Name: "release", Namespace: "release", Revision: 1, IsInstall: true}
}

// prepare loads the chart anew (rendering changes it) and computes what its templates see. Schemas that name other documents on the
// network are not checked: a scan does not dial.
func (r *chartRun) prepare(values map[string]any, again bool) (*chart.Chart, common.Values, error) {
	ch, err := loader.LoadFiles(r.files)
	if err != nil {
		return nil, nil, err
	}
	if err := chartutil.ProcessDependencies(ch, values); err != nil {
		return nil, nil, fmt.Errorf("process dependencies: %w", err)
	}
	top, err := commonutil.ToRenderValuesWithSchemaValidation(ch, values, release(), r.caps, again || dials(ch))
	if err != nil && !again {
		r.fail(path.Join(r.file.path, "values.schema.json"), 0, strings.Join(strings.Fields(err.Error()), " "))
		return r.prepare(values, true)
	}
	return ch, top, err
}

// dials tells whether a schema of the chart refers to a document on the network.
func dials(ch *chart.Chart) bool {
	if bytes.Contains(ch.Schema, []byte("$ref")) && bytes.Contains(bytes.ReplaceAll(ch.Schema, []byte(" "), nil), []byte(`"$ref":"http`)) {
		return true
	}
	return slices.ContainsFunc(ch.Dependencies(), dials)
}

// look searches what was rendered, and the CRDs, which are not templates.
func (r *chartRun) look(ch *chart.Chart, templates map[string]*common.File, out map[string]string, how rendered) {
	for _, crd := range ch.CRDObjects() {
		r.once(crd.Filename, string(crd.File.Data), how)
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		r.rendered[name] = true
		if strings.HasSuffix(name, ".txt") || strings.TrimSpace(out[name]) == "" {
			continue // NOTES.txt is prose
		}
		source := ""
		if t := templates[name]; t != nil {
			source = string(t.Data)
		}
		how.lineOf = templateLines(source, out[name])
		r.once(name, out[name], how)
	}
}

// once searches a stream unless another set of values gave the same.
func (r *chartRun) once(name, content string, how rendered) {
	if key := name + "\x00" + content; !r.scanned[key] {
		r.scanned[key] = true
		r.manifest(r.contextPath(name), content, how)
	}
}

// contextPath turns Helm's name of a template into its path in the context.
func (r *chartRun) contextPath(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	return path.Join(r.file.path, rest)
}

// capabilities of a cluster of that version: what charts ask .Capabilities
// for. Helm's library has an old version's unless told, and knows groups only.
func capabilities(version string) (*common.Capabilities, error) {
	kube, err := common.ParseKubeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	major, err := strconv.Atoi(kube.Major)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	minor, err := strconv.Atoi(kube.Minor)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion, caps.APIVersions = *kube, served(major, minor)
	return caps, nil
}

// served lists group/version and group/version/Kind of what that version
// serves by default, from the life cycle that the API types declare.
func served(major, minor int) common.VersionSet {
	var out []string
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == "__internal" || strings.Contains(gvk.Version, "alpha") ||
			strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") {
			continue
		}
		object := reflect.New(typ).Interface()
		if o, ok := object.(interface{ APILifecycleIntroduced() (int, int) }); ok {
			if ma, mi := o.APILifecycleIntroduced(); before(major, minor, ma, mi) {
				continue
			}
		}
		if o, ok := object.(interface{ APILifecycleRemoved() (int, int) }); ok {
			if ma, mi := o.APILifecycleRemoved(); ma > 0 && !before(major, minor, ma, mi) {
				continue
			}
		}
		out = append(out, gvk.GroupVersion().String(), gvk.GroupVersion().String()+"/"+gvk.Kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func before(major, minor, thanMajor, thanMinor int) bool {
	return major < thanMajor || major == thanMajor && minor < thanMinor
}

// templateLines gives, for a line of a rendered template, the line of the template that most likely made it, 0 if none does. A
// template's line is a pattern: its actions stand for any text. The most literal pattern wins; of equals, the one at the same place
// in their order.
func templateLines(source, out string) func(line int) int {
	match := sync.OnceValue(func() *lineMatcher { return newLineMatcher(source) })
	lines := sync.OnceValue(func() []string { return strings.Split(out, "\n") })
	return func(line int) int {
		if source == "" || line < 1 || line > len(lines()) {
			return 0
		}
		return match().find(lines(), line-1)
	}
}

type linePattern struct {
	re      *regexp.Regexp
	literal int // characters outside actions
	line    int
}

type lineMatcher struct{ patterns []linePattern }

func newLineMatcher(source string) *lineMatcher {
	m := &lineMatcher{}
	action := regexp.MustCompile(`\{\{.*?\}\}`)
	for i, line := range strings.Split(source, "\n") {
		line = strings.TrimSpace(line)
		literals := action.Split(line, -1)
		n := 0
		for j, l := range literals {
			n += len(strings.TrimSpace(l))
			literals[j] = regexp.QuoteMeta(l)
		}
		if n < 3 || len(line) > 1000 {
			continue
		}
		re, err := regexp.Compile(`^` + strings.Join(literals, `.*`) + `$`)
		if err == nil {
			m.patterns = append(m.patterns, linePattern{re: re, literal: n, line: i + 1})
		}
	}
	return m
}

func (m *lineMatcher) find(lines []string, index int) int {
	text := strings.TrimSpace(lines[index])
	var best []linePattern
	for _, p := range m.patterns {
		if !p.re.MatchString(text) {
			continue
		}
		if len(best) > 0 && p.literal > best[0].literal {
			best = nil
		}
		if len(best) == 0 || p.literal == best[0].literal {
			best = append(best, p)
		}
	}
	if len(best) == 0 {
		return 0
	}
	nth := 0
	for _, earlier := range lines[:index] {
		if best[0].re.MatchString(strings.TrimSpace(earlier)) {
			nth++
		}
	}
	return best[min(nth, len(best)-1)].line
}
