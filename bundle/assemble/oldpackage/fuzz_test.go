package oldpackage

import (
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// Whatever a script is: what is changed in it is still one, and nothing is left of what others do now.
func FuzzAChangedScriptIsAScript(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		parse := func(text string) ([]call, error) {
			file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "init.sh")
			if err != nil {
				return nil, err
			}
			return callsOf(file, text), nil
		}
		p := &reader{hasCRI: true}
		calls, err := parse(text)
		if err != nil {
			return
		}
		s := script{name: initScript, text: text, calls: calls}
		for _, c := range calls {
			if p.instead(c) != "" {
				s.quiet = append(s.quiet, c)
			}
		}
		after, err := parse(s.changed())
		if err != nil {
			t.Fatalf("%v: %q became %q", err, text, s.changed())
		}
		for _, c := range after {
			if why := p.instead(c); why != "" {
				t.Errorf("%q became %q: %q is left (%s)", text, s.changed(), c, why)
			}
		}
	})
}
