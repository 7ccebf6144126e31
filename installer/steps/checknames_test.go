package steps

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Operators can ignore every check by its name, but for those without which nothing can be installed. The lists are complete, and
// no name is on both.
func TestEveryCheckHasAName(t *testing.T) {
	sources, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{
			`\badd\((?:true|false|v\.[^"\n]*\("[A-Za-z]+"\)[^"\n]*), "([^"]+)"`, `Check: "([^"]+)"`, `preflight\.From\(.*, "([^"]+)"`, `\badd\("([a-z-]+)", "`,
			`\badd\(.*, "(connect|cluster)", `, `v\.(?:problem|differs)\([^,\n]*, "([a-z-]+)", `,
		} {
			for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(text), -1) {
				found[m[1]] = true
			}
		}
	}
	all := slices.Sorted(slices.Values(append(preflight.Checks(), preflight.Essential()...)))
	if diff := cmp.Diff(all, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("names of checks (-lists +code):\n%s", diff)
	}
}
