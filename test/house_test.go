package test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How wide a line may be, in characters, a tab counting four. Messages stay in one piece, so that they can be searched for:
// texts in quotes do not count.
const (
	widestComment = 132
	widestCode    = 160
)

// quoted is a text in a line.
var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

func TestHouseLinesAreNoWiderThanAWindow(t *testing.T) {
	for _, f := range sources(t, "*.go") {
		text, err := os.ReadFile(filepath.Join("..", f))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		raw := false // within a text that goes over several lines
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.ReplaceAll(line, "\t", "    ")
			ticks := strings.Count(quoted.ReplaceAllString(line, ""), "`")
			inside := raw
			raw = raw != (ticks%2 == 1)
			if inside || raw {
				continue
			}
			comment := strings.HasPrefix(strings.TrimSpace(line), "// ")
			width, most := len([]rune(quoted.ReplaceAllString(line, ""))), widestCode
			if comment {
				width, most = len([]rune(line)), widestComment
			}
			if width > most && !(strings.HasSuffix(f, "_test.go") && !comment) {
				t.Errorf("%s:%d: %d characters, at most %d", f, i+1, width, most)
			}
		}
	}
}

// mayBegin are the files that may begin a context of their own, each with its reason.
var mayBegin = map[string]string{
	"cmd/sealsbom/main.go":    "the program begins",
	"hack/release/main.go":    "the program begins",
	"cmd/sealbuild/main.go":   "the program begins",
	"cmd/sealinstall/main.go": "the program begins",
	"bundle/writer.go":        "bytes in memory: nothing is waited for",
	"bundle/finish.go":        "bytes in memory: nothing is waited for",
	"registry/disk/aside.go":  "a lock that is asked for once: nothing is waited for",
	"installer/steps/run.go":  "clean-up, whose parts are bounded",
}

// What waits ends with its caller.
func TestHouseContextsComeFromTheCaller(t *testing.T) {
	begins := regexp.MustCompile(`\bcontext\.(Background|TODO)\(\)`)
	used := map[string]bool{}
	for _, f := range sources(t, "*.go") {
		if strings.HasSuffix(f, "_test.go") || strings.HasPrefix(f, "test/") || strings.Contains(f, "test/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", f))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !begins.Match(text) {
			continue
		}
		used[f] = true
		if mayBegin[f] == "" {
			t.Errorf("%s begins a context of its own: take one from the caller, or say why not in test/house_test.go", f)
		}
	}
	for f := range mayBegin {
		if !used[f] {
			t.Errorf("%s begins no context: take it off the list", f)
		}
	}
}

// What the race detector makes too slow runs without it, or it would run nowhere.
func TestHouseTestsThatSkipTheDetectorRunWithoutIt(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^UNRACED := (.+)$`).FindSubmatch(makefile)
	if list == nil {
		t.Fatal("the Makefile has no UNRACED")
	}
	run := regexp.MustCompile(strings.ReplaceAll(string(list[1]), "$$", "$"))
	skips := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\) \{\n\tdetector\.Whole\(t\)`)
	found := 0
	for _, f := range sources(t, "*_test.go") {
		text, err := os.ReadFile(filepath.Join("..", f))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range skips.FindAllSubmatch(text, -1) {
			found++
			if !run.Match(m[1]) {
				t.Errorf("%s: %s is skipped under the race detector, and UNRACED in the Makefile does not run it", f, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no test was found that skips the detector")
	}
}

// searchBudget is how many lines of rules the search for images may have: see "Decisions, and why" in docs/architecture.md.
const searchBudget = 6400

func TestHouseSearchKeepsToItsBudget(t *testing.T) {
	lines := 0
	for _, f := range sources(t, "bundle/assemble/scan/*.go") {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(raw, []byte("\n"))
	}
	if lines == 0 || lines > searchBudget {
		t.Errorf("bundle/assemble/scan has %d lines, at most %d: which rule can go?", lines, searchBudget)
	}
}

// mostFiles is how many product files of one package a newcomer can keep in mind.
const mostFiles = 20

func TestHousePackagesHaveFewFiles(t *testing.T) {
	count := map[string]int{}
	for _, f := range sources(t, "*.go") {
		if _, err := os.Stat(filepath.Join("..", f)); err != nil || strings.HasSuffix(f, "_test.go") || strings.HasPrefix(f, "test/") {
			continue
		}
		count[filepath.Dir(f)]++
	}
	for _, dir := range slices.Sorted(maps.Keys(count)) {
		if count[dir] > mostFiles {
			t.Errorf("%s has %d product files, at most %d: part it", dir, count[dir], mostFiles)
		}
	}
}

// manyMethods are the receivers of today that do more than one reader can keep in mind, with how many methods they have.
var manyMethods = map[string]int{"test/scenario.Site": 70}

const mostMethods = 50

func TestHouseReceiversHaveFewMethods(t *testing.T) {
	count := map[string]int{}
	for _, f := range sources(t, "*.go") {
		if _, err := os.Stat(filepath.Join("..", f)); err != nil || strings.HasSuffix(f, "_test.go") || strings.Contains(f, "testdata/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", f), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			of := fn.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				of = star.X
			}
			if generic, ok := of.(*ast.IndexExpr); ok {
				of = generic.X
			}
			if name, ok := of.(*ast.Ident); ok {
				count[filepath.Dir(f)+"."+name.Name]++
			}
		}
	}
	for receiver, n := range count {
		if most := max(mostMethods, manyMethods[receiver]); n > most {
			t.Errorf("%s has %d methods, at most %d: part it", receiver, n, most)
		} else if manyMethods[receiver] > mostMethods && n < manyMethods[receiver] {
			t.Errorf("%s has only %d methods now: write that down in test/house_test.go", receiver, n)
		}
	}
}

// goFile is a Go file as documents name it; in the map a path may begin at the room that is spoken of.
var goFile = regexp.MustCompile(`\b[a-z0-9]+(?:/[a-z0-9]+)*\.go\b`)

func TestArchitectureNamesFilesThatExist(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range sources(t, "*.go") {
		if _, err := os.Stat(filepath.Join("..", f)); err == nil {
			have = append(have, "/"+f)
		}
	}
	for _, name := range goFile.FindAllString(strings.ReplaceAll(string(text), "_test.go", ""), -1) {
		if !slices.ContainsFunc(have, func(f string) bool { return strings.HasSuffix(f, "/"+name) }) {
			t.Errorf("docs/architecture.md names %s, and no file of that name is here", name)
		}
	}
}
