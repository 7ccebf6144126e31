package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/payload"
)

// contract are the names in the source that somebody who makes an image has to know: labels, and variables that the installer sets.
var contract = regexp.MustCompile(`"(SEALOS_SYS_[A-Z_]+|sealos\.io\.[a-z]+|registry[A-Z][a-z]+|defaultVIP)"`)

func TestThePageForWhoMakesImagesNamesEveryLabelAndVariable(t *testing.T) {
	page, err := os.ReadFile("../docs/images.md")
	if err != nil {
		t.Fatal(err)
	}
	names := payload.Scripts()
	sources, err := filepath.Glob("../installer/payload/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sources {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range contract.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) < 20 {
		t.Fatalf("%q: this test sees nothing", names)
	}
	for _, name := range slices.Compact(names) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/images.md does not name %s", name)
		}
	}
}

func TestTheDrawingOfARunHasItsSteps(t *testing.T) {
	page, err := os.ReadFile("../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../installer/steps/install.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(source), "\nfunc Install() []Step {\n")
	list, _, _ = strings.Cut(list, "\n}\n")
	var want, got []string
	for _, m := range regexp.MustCompile(`\{Name: "([a-z0-9-]+)"`).FindAllStringSubmatch(list, -1) {
		want = append(want, m[1])
	}
	_, drawing, _ := strings.Cut(string(page), "\n## One run\n\n```text\n")
	drawing, _, _ = strings.Cut(drawing, "\n```\n")
	for _, m := range regexp.MustCompile(`(?m)^ ([a-z0-9-]+) `).FindAllStringSubmatch(drawing, -1) {
		got = append(got, m[1])
	}
	if len(want) < 10 || !slices.Equal(want, got) {
		t.Errorf("the drawing has the steps %v, a run has %v", got, want)
	}
}
