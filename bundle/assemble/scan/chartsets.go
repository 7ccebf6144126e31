package scan

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
)

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
