package scan

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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

// maxPlaces bounds Found.Also: a person reads them.
const maxPlaces = 1000

// collector merges findings into one entry a reference.
type collector struct {
	ignore   *ignoreList
	found    map[string]*Found
	archived []Archive
	warnings []Warning
	errors   []Error
	charts   *Charts
	doubts   []doubt
}

// noteChart notes that a chart is rendered.
func (c *collector) noteChart(kubeVersion string, depends bool) {
	if c.charts == nil {
		c.charts = &Charts{KubeVersion: kubeVersion}
	}
	c.charts.Depends = c.charts.Depends || depends
}

func newCollector(ignore *ignoreList) *collector {
	return &collector{ignore: ignore, found: map[string]*Found{}}
}

// add takes a finding whose text is a valid reference; others are dropped:
// the rules that find them say themselves when that is worth a warning.
func (c *collector) add(file string, f finding) {
	ref, err := Normalize(f.text)
	if err != nil || c.ignore.match(ref, f.text) || c.ignore.file(file) || f.test && c.ignore.tests {
		return
	}
	place := Place{File: printable(file), Line: f.line}
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
	if c.ignore.file(file) {
		return
	}
	c.warnings = appendNew(c.warnings, []Warning{{Place{File: printable(file), Line: line}, strings.ToValidUTF8(message, "?")}})
}

func (c *collector) fail(file string, line int, message string) {
	if c.ignore.file(file) {
		return
	}
	c.errors = appendNew(c.errors, []Error{{Place{File: printable(file), Line: line}, strings.ToValidUTF8(message, "?")}})
}

// validName tells of a file or directory that cannot be opened by its name: none of Go's file systems takes other bytes than UTF-8.
func (c *collector) validName(dir string, e fs.DirEntry) bool {
	if utf8.ValidString(e.Name()) {
		return true
	}
	c.fail(dir, 0, fmt.Sprintf("the name %q is not in UTF-8, and what it names is not searched for images: rename it", e.Name()))
	return false
}

// printable is a file's name as it stands in messages and records: on one line, and in UTF-8.
func printable(name string) string {
	if utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl) {
		return name
	}
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}

// doubt is an error that is none where something else says which image is meant.
type doubt struct {
	Error
	text, known string
}

func (c *collector) doubt(file string, line int, message, text, known string) {
	c.doubts = append(c.doubts, doubt{Error{Place{File: file, Line: line}, message}, text, known})
}

// settle makes errors of the doubts that nothing answers. .sealignore answers one by the text, a list by an image which that may
// stand for; another place that names the repository in full makes it a warning.
func (c *collector) settle() {
	for _, d := range c.doubts {
		shown := strings.ReplaceAll(d.known, unresolved, "…")
		if c.ignore.match("", d.text) || c.ignore.match("", shown) {
			continue
		}
		repository, _, tagged := cutLast(d.known, ":")
		tagged = tagged && !strings.Contains(repository, unresolved)
		listed, elsewhere := false, false
		if strings.Contains(d.known, unresolved) && strings.ContainsFunc(shown, unicode.IsLetter) {
			like := ignoreRegexp(strings.ReplaceAll(d.known, unresolved, "*"))
			for ref, f := range c.found {
				if like.MatchString(ref) || like.MatchString(short(ref)) {
					listed, elsewhere = listed || f.Reason == ofList, elsewhere || tagged && f.saysTag()
				}
			}
		}
		switch {
		case listed:
		case elsewhere:
			c.warn(d.File, d.Line, d.Message+"; others of its repository are taken")
		default:
			c.fail(d.File, d.Line, d.Message)
		}
	}
}

// saysTag tells whether the reference was written with a tag or a digest, and none was put in.
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
	c.settle()
	for _, p := range c.ignore.unused() {
		c.warn(IgnoreFile, p.line, "nothing matches "+p.text)
	}
	r := &Result{Images: []Found{}, Archives: c.archived, Warnings: c.warnings, Errors: c.errors, Charts: c.charts}
	tagged := map[string]bool{} // repositories with a tag or digest of their own
	above := map[string]bool{}  // file and what stands in front of their names there
	for _, f := range c.found {
		if !f.saysTag() {
			continue
		}
		repository := repositoryOf(f.Ref)
		tagged[repository] = true
		for _, p := range append([]Place{f.Place}, f.Also...) {
			above[p.File+"\x00"+path.Dir(repository)] = true
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(c.found)) {
		f := c.found[ref]
		if alone := repositoryOf(ref); f.Certainty == Suspected && !f.saysTag() && (tagged[alone] || above[f.File+"\x00"+alone]) {
			continue // the name alone of what is found in full elsewhere, or what stands in front of names
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

// and joins what is known of the charts of two platforms.
func (c *Charts) and(o *Charts) *Charts {
	if c == nil || o == nil {
		return cmp.Or(c, o)
	}
	return &Charts{KubeVersion: c.KubeVersion, Depends: c.Depends || o.Depends}
}

// Union is what several scans found together: those of one context for several platforms, whose Kubefiles may copy other files and
// set other values. What one is certain of is certain.
func Union(all ...*Result) *Result {
	if len(all) == 1 {
		return all[0]
	}
	u := &Result{Images: []Found{}}
	for _, r := range all {
		for _, f := range r.Images {
			i := slices.IndexFunc(u.Images, func(o Found) bool { return o.Ref == f.Ref })
			switch {
			case i < 0:
				u.Images = append(u.Images, f)
			case u.Images[i].Certainty == Suspected && f.Certainty == Certain:
				f.Also = places(f, u.Images[i])
				u.Images[i] = f
			default:
				u.Images[i].Also = places(u.Images[i], f)
			}
		}
		u.Archives = appendNew(u.Archives, r.Archives)
		u.Warnings = appendNew(u.Warnings, r.Warnings)
		u.Errors = appendNew(u.Errors, r.Errors)
		u.Charts = u.Charts.and(r.Charts)
	}
	slices.SortFunc(u.Images, func(a, b Found) int { return cmp.Compare(a.Ref, b.Ref) })
	return u
}

// places are the other places of an image, with those that it has elsewhere.
func places(f, elsewhere Found) []Place {
	all := slices.Clone(f.Also)
	for _, p := range append([]Place{elsewhere.Place}, elsewhere.Also...) {
		if p != f.Place && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

func appendNew[T comparable](all, more []T) []T {
	for _, v := range more {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// IgnoreFile is the file that lists references, files and directories to leave out, at the context's root: one a
// line, # comments, * and ? as wildcards (* matches / too).
const IgnoreFile = ".sealignore"

type ignorePattern struct {
	text string
	line int
	re   *regexp.Regexp
	hit  bool
}

// helmTests is the line of .sealignore that leaves out the images which only "helm test" runs.
const helmTests = "@helm-tests"

// ignoreList is a read .sealignore.
type ignoreList struct {
	patterns []*ignorePattern
	tests    bool // leave out what is of Helm tests only
}

// readIgnore reads the context's list; a missing one is empty.
func readIgnore(fsys fs.FS) *ignoreList {
	f, err := fsys.Open(IgnoreFile)
	if err != nil {
		return &ignoreList{}
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return &ignoreList{}
	}
	return parseIgnore(bytes.NewReader(trimBOM(content)))
}

func parseIgnore(r io.Reader) *ignoreList {
	list := &ignoreList{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := listEntry(lines.Text(), n == 1)
		if text == "" {
			continue
		}
		if text == helmTests {
			list.tests = true
			continue
		}
		list.patterns = append(list.patterns, &ignorePattern{text: text, line: n, re: ignoreRegexp(text)})
	}
	return list
}

// ignoreRegexp matches the whole of what a pattern means.
func ignoreRegexp(pattern string) *regexp.Regexp {
	if !strings.ContainsAny(pattern, "*?") {
		if full, err := Normalize(pattern); err == nil {
			pattern = full
		}
	}
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(quoted, `\*`, `.*`)
	quoted = strings.ReplaceAll(quoted, `\?`, `.`)
	return regexp.MustCompile(`^` + quoted + `$`)
}

// short is the form of a reference that Docker shows.
func short(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
}

// match tells whether a reference is left out: its full form, the short form Docker shows, or the text as written.
func (l *ignoreList) match(ref, original string) bool {
	hit := false
	for _, p := range l.patterns {
		if p.re.MatchString(ref) || p.re.MatchString(short(ref)) || p.re.MatchString(original) {
			p.hit, hit = true, true
		}
	}
	return hit
}

// file tells whether a file, or a directory that it lies in, is left out.
func (l *ignoreList) file(name string) bool {
	hit := false
	for _, p := range l.patterns {
		dir := strings.TrimSuffix(p.text, "/")
		if name == dir || strings.HasPrefix(name, dir+"/") || strings.ContainsAny(p.text, "*?") && p.re.MatchString(name) {
			p.hit, hit = true, true
		}
	}
	return hit
}

// unused gives the patterns that matched nothing: most are misspelled.
func (l *ignoreList) unused() []*ignorePattern {
	var out []*ignorePattern
	for _, p := range l.patterns {
		if !p.hit {
			out = append(out, p)
		}
	}
	return out
}
