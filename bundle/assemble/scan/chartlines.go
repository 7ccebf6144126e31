package scan

import (
	"regexp"
	"strings"
	"sync"
)

// templateLines gives, for a line of a rendered template, the line of the
// template that most likely made it, 0 if none does. A template's line is a
// pattern: its actions stand for any text. The most literal pattern wins; of
// equals, the one at the same place in their order.
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
