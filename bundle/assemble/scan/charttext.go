package scan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

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

// unrenderedOf looks through one chart; prefix is the engine's name of it, at
// the path of its values.
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
