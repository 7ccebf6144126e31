package scan

import (
	"maps"
	"regexp"
	"slices"
	"strings"

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
