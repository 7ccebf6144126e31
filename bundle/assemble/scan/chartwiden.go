package scan

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/strvals"
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

// valueSet is what a chart is rendered with: files, the later over the earlier, and then the options of a command.
type valueSet struct {
	files []valuesFile
	sets  []helmSet
	later []string // keys that get a value at run time
}

func (v valueSet) with(more ...valuesFile) valueSet {
	v.files = slices.Concat(v.files, more)
	return v
}

// renderAll renders with the chart's defaults and NAME.values.yaml, as each command of the context installs it, with each extra
// file on top, and with all of them. A rendering may fail where a value comes with another file: a file is covered when one
// rendering with it works.
func (r *chartRun) renderAll(beside chartValues, inside []valuesFile, uses []helmUse) {
	var base valueSet
	if beside.main != nil {
		base = base.with(*beside.main)
	}
	var sets []valueSet
	for _, use := range uses {
		set := valueSet{files: base.files, sets: use.sets, later: use.later}
		for _, given := range use.files {
			if f, ok := r.valuesFileOf(use, given); ok {
				set.files = slices.DeleteFunc(slices.Clone(set.files), func(v valuesFile) bool { return v.path == f.path })
				set = set.with(f)
			}
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		sets = append(sets, base)
	}
	base = sets[0]
	var extras []valuesFile
	for _, extra := range beside.extras {
		if !slices.ContainsFunc(base.files, func(v valuesFile) bool { return v.path == extra.path }) {
			extras = append(extras, extra)
			sets = append(sets, base.with(extra))
		}
	}
	if len(extras) > 1 {
		sets = append(sets, base.with(extras...))
	}
	works := make([][]problem, len(sets))
	covered := map[string]bool{}
	anyWorks := false
	for i, set := range sets {
		works[i] = r.render(set, "", true)
		if len(works[i]) == 0 {
			anyWorks = true
			for _, v := range set.files {
				covered[v.path] = true
			}
		}
	}
	for i, problems := range works {
		lost := !anyWorks
		for _, v := range sets[i].files {
			lost = lost || !covered[v.path]
		}
		for _, p := range problems {
			if lost {
				r.fail(p.file, p.line, p.message)
			} else {
				r.warn(p.file, p.line, "with some of the values beside the chart only: "+p.message)
			}
		}
	}
	for _, extra := range inside {
		if !slices.ContainsFunc(base.files, func(v valuesFile) bool { return v.path == extra.path }) {
			r.render(base.with(extra), "with "+path.Base(extra.path)+" of the chart", false)
		}
	}
	r.widen(sets[len(sets)-1])
	r.unrendered(sets[len(sets)-1])
	r.valuesOfParts(sets[len(sets)-1])
}

// valuesOf merges a set of values, the later over the earlier.
func (r *chartRun) valuesOf(set valueSet) (values map[string]any, problems []problem) {
	values = map[string]any{}
	for _, v := range set.files {
		more, err := loader.LoadValues(bytes.NewReader(v.text))
		if err != nil {
			problems = append(problems, problem{file: v.path, line: yamlErrorLine(err), message: "values not read: " + err.Error()})
			continue
		}
		values = loader.MergeMaps(values, more)
	}
	for _, o := range set.sets {
		if err := o.into(values); err != nil {
			problems = append(problems, problem{file: r.file.path, message: "Helm option " + o.flag + " " + o.text + ": " + err.Error()})
		}
	}
	for _, key := range set.later {
		// A stand-in where there is no default: what requires a value is to go on, and an image that depends on it is told.
		at := strings.Split(key, ".")
		if given := (common.Values{}); !strings.ContainsAny(key, `[\\`+unresolved) {
			if ch, err := loader.LoadFiles(r.files); err == nil {
				given = ch.Values
			}
			if v, err := given.PathValue(key); err != nil || v == nil || v == "" {
				setPath(values, at, unresolved)
			}
		}
	}
	return values, problems
}

// into puts the option's values into values, as Helm does.
func (o helmSet) into(values map[string]any) error {
	switch o.flag {
	case "--set-string":
		return strvals.ParseIntoString(o.text, values)
	case "--set-literal":
		return strvals.ParseLiteralInto(o.text, values)
	case "--set-json":
		if strings.HasPrefix(strings.TrimSpace(o.text), "{") {
			var more map[string]any
			if err := json.Unmarshal([]byte(o.text), &more); err != nil {
				return err
			}
			maps.Copy(values, loader.MergeMaps(values, more))
			return nil
		}
		return strvals.ParseJSON(o.text, values)
	}
	return strvals.ParseInto(o.text, values)
}
