package scan

import (
	"maps"
	"path"
	"slices"
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

// cheapFuncs replace what makes keys and hashes: no image depends on them,
// and they would be most of the time of a scan.
func cheapFuncs() template.FuncMap {
	pair := func(...any) keyPair { return keyPair{Cert: "certificate", Key: "key"} }
	text := func(...any) string { return "key" }
	return template.FuncMap{
		"genCA": pair, "genCAWithKey": pair, "genSelfSignedCert": pair, "genSelfSignedCertWithKey": pair,
		"genSignedCert": pair, "genSignedCertWithKey": pair, "buildCustomCert": pair,
		"genPrivateKey": text, "derivePassword": text, "htpasswd": text, "bcrypt": text,
	}
}

// engineFor gives an engine; a lenient one notes what required and fail say
// and goes on.
func engineFor(lenient *missingValues) engine.Engine {
	funcs := cheapFuncs()
	if lenient != nil {
		maps.Copy(funcs, lenient.funcs())
	}
	return engine.Engine{CustomTemplateFuncs: funcs}
}

// salvage renders what can be rendered: a template that fails is left out and
// told to failed. instead holds what to try first in the place of templates,
// by name.
func salvage(
	ch *chart.Chart, top common.Values, lenient *missingValues, instead map[string][]byte, failed func(error, map[string]*common.File),
) map[string]string {
	eng := engineFor(lenient)
	templates := sourcesOf(ch)
	// A rendering that fails gives nothing: templates that were done before
	// the failing one are noted, not rendered again with each failure, and
	// rendered together at the end.
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
		name := templateIn(err.Error(), templates)
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

// isPartial: Helm renders it only where another template includes it.
func isPartial(name string) bool { return strings.HasPrefix(path.Base(name), "_") }
