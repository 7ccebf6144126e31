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
