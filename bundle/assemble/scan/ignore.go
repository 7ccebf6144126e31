package scan

import (
	"bufio"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

// IgnoreFile is the file that lists references to leave out, at the context's root: one a
// line, # comments, * and ? as wildcards (* matches / too).
const IgnoreFile = ".sealignore"

type ignorePattern struct {
	text string
	line int
	re   *regexp.Regexp
	hit  bool
}

// helmTests is the line of .sealignore that leaves out the images which only
// "helm test" runs.
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
	return parseIgnore(io.LimitReader(f, maxManifest))
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

// match tells whether a reference is left out: its full form, the short form
// Docker shows, or the text as written.
func (l *ignoreList) match(ref, original string) bool {
	hit := false
	short := strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
	for _, p := range l.patterns {
		if p.re.MatchString(ref) || p.re.MatchString(short) || p.re.MatchString(original) {
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
