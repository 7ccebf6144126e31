package scan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// finding is a reference as a walker meets it; line is in the walker's file.
type finding struct {
	text      string
	line      int
	certainty Certainty
	reason    string
	test      bool // of a pod that "helm test" runs
	guessed   bool // the tag is not written where the rest is
}

// maxPlaces bounds Found.Also.
const maxPlaces = 20

// collector merges findings into one entry a reference.
type collector struct {
	ignore   *ignoreList
	found    map[string]*Found
	archived []Archive
	warnings []Warning
	errors   []Error
}

func newCollector(ignore *ignoreList) *collector {
	return &collector{ignore: ignore, found: map[string]*Found{}}
}

// add takes a finding whose text is a valid reference; others are dropped:
// the rules that find them say themselves when that is worth a warning.
func (c *collector) add(file string, f finding) {
	ref, err := Normalize(f.text)
	if err != nil || c.ignore.match(ref, f.text) || f.test && c.ignore.tests {
		return
	}
	place := Place{File: file, Line: f.line}
	old, ok := c.found[ref]
	if !ok {
		c.found[ref] = &Found{Ref: ref, Original: f.text, Certainty: f.certainty, Test: f.test, Place: place, Reason: f.reason}
		return
	}
	old.Test = old.Test && f.test
	if old.Place == place || slices.Contains(old.Also, place) {
		if old.Place == place && f.certainty == Certain {
			old.Certainty, old.Reason = Certain, f.reason
		}
		return
	}
	if old.Certainty == Suspected && f.certainty == Certain {
		// The surer place leads.
		also := append([]Place{old.Place}, old.Also...)
		*old = Found{Ref: ref, Original: f.text, Certainty: Certain, Place: place, Reason: f.reason, Also: also}
	} else {
		old.Also = append(old.Also, place)
	}
	old.Also = old.Also[:min(len(old.Also), maxPlaces)]
}

func (c *collector) warn(file string, line int, message string) {
	w := Warning{Place: Place{File: file, Line: line}, Message: message}
	if !slices.Contains(c.warnings, w) {
		c.warnings = append(c.warnings, w)
	}
}

func (c *collector) fail(file string, line int, message string) {
	e := Error{Place: Place{File: file, Line: line}, Message: message}
	if !slices.Contains(c.errors, e) {
		c.errors = append(c.errors, e)
	}
}

// saysTag: a tag or digest was written, not put in for none.
func (f *Found) saysTag() bool {
	s, ok := shapeOf(f.Original)
	return ok && s.pinned()
}

func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref
}

func (c *collector) result() *Result {
	for _, p := range c.ignore.unused() {
		c.warn(IgnoreFile, p.line, "nothing matches "+p.text)
	}
	r := &Result{Images: []Found{}, Archives: c.archived, Warnings: c.warnings, Errors: c.errors}
	tagged := map[string]bool{} // repositories with a tag or digest of their own
	for _, f := range c.found {
		if f.saysTag() {
			tagged[repositoryOf(f.Ref)] = true
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(c.found)) {
		f := c.found[ref]
		if f.Certainty == Suspected && !f.saysTag() && tagged[repositoryOf(ref)] {
			continue // the name alone of what is found in full elsewhere
		}
		r.Images = append(r.Images, *f)
	}
	byPlace := func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	}
	slices.SortStableFunc(r.Warnings, func(a, b Warning) int { return byPlace(a.Place, b.Place) })
	slices.SortStableFunc(r.Errors, func(a, b Error) int { return byPlace(a.Place, b.Place) })
	return r
}
