package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each sentence of these documents that promises something has a row in the
// table of the last one, with the tests that prove it.
var promisingDocuments = []string{
	"README.md", "docs/operations.md", "docs/reliability.md", "docs/first-install.md", "docs/how-it-works.md",
	"docs/operations/certificates.md", "docs/operations/clock.md", "docs/operations/damaged-file.md", "docs/operations/disk-full.md",
	"docs/operations/first-master-died.md", "docs/operations/kubeconfig.md", "docs/operations/master-died.md", "docs/operations/node-died.md",
	"docs/operations/power-cut.md", "docs/operations/registry.md", "docs/operations/upgrade-failed.md",
}

const (
	promiseTable   = "docs/reliability.md"
	promiseHeading = "## What is promised, and what proves it"
	// Under this heading each sentence of each bullet is a promise.
	promisingBullets = "## Why another one"
	notAPromise      = "no promise: "
)

// promisingWords make a sentence a promise. The list is coarse on purpose: what
// it finds and is none is marked as such in the table, with the reason.
var promisingWords = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	"always", "never", "every", "each", "all", "whole", "any", "only", "nothing", "nobody", "no", "none", "neither", "without", "cannot",
	"once", "again", "same", "equal", "exactly", "at once", "goes on", "go on", "finish(es)?", "keeps?", "kept", "stays?", "remains?",
	"verif(y|ies|ied)", "checked", "refuse[sd]?", "recognised", "told", "tells", "named?", "names", "report(s|ed)", "removes", "removed",
	"must", "random", "safe", "needs?", "brings? back", "fetched", "masked", "undone", "not", "needed", "before", "itself", "available", "installs?",
	"serves?", "reach(es)?", "takes", "shows?", "waits?", "waited", "0[67]00", "follows?", "status", "marked",
}, "|") + `)\b`)

// unit is a sentence or a cell of a table, in plain words: without emphasis,
// with single spaces.
type unit struct {
	file, text string
	line       int
	sure       bool     // a promise whatever its words
	proof      []string // of a row that names its scenario itself
}

// The name of a page that a link leads to promises nothing.
func (u unit) promises() bool {
	if strings.HasPrefix(u.text, "Shown by: ") { // of a page about a bad day: it is the proof
		return false
	}
	return u.sure || promisingWords.MatchString(linkTarget.ReplaceAllString(u.text, "]"))
}

var (
	spaces      = regexp.MustCompile(`\s+`)
	boldLead    = regexp.MustCompile(`^\*\*[^*]*[.!?]\*\*\s*`)
	sentenceEnd = regexp.MustCompile(`[^ ]+[.!?][)"]?\s+()[^ ]`)
	linkTarget  = regexp.MustCompile(`\]\([^)]*\)`)
	separator   = regexp.MustCompile(`^\|[-:| ]+\|$`)
)

// plain is text as it is compared: what a reader reads, however the lines are broken.
func plain(text string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(strings.ReplaceAll(text, "**", ""), " "))
}

func sentences(text string) (out []string) {
	text = plain(text)
	begin := 0
	for _, m := range sentenceEnd.FindAllStringSubmatchIndex(text, -1) {
		if !slices.Contains(abbreviations, strings.TrimSpace(text[m[0]:m[2]])) {
			out = append(out, strings.TrimSpace(text[begin:m[2]]))
			begin = m[2]
		}
	}
	if text[begin:] != "" {
		out = append(out, text[begin:])
	}
	return out
}

// abbreviations end no sentence.
var abbreviations = []string{"e.g.", "i.e.", "etc."}

// cells splits a row of a table.
func cells(row string) []string {
	row = strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, "\x00")
	var out []string
	for c := range strings.SplitSeq(row, "|") {
		out = append(out, strings.ReplaceAll(plain(c), "\x00", "|"))
	}
	return out
}

// units reads the sentences of a document: of paragraphs, list items and cells,
// not of headings, code and the table of promises itself.
func units(file, text string) (out []unit) {
	var block []string
	var begin int
	bullet, sure, code, promises := false, false, false, false
	var header []string
	flush := func() {
		text := strings.Join(block, " ")
		if bullet && sure {
			text = boldLead.ReplaceAllString(text, "")
		}
		for _, s := range sentences(text) {
			out = append(out, unit{file: file, text: s, line: begin, sure: bullet && sure})
		}
		block, bullet = nil, false
	}
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "```") {
			flush()
			code = !code
			continue
		}
		if code {
			continue
		}
		if strings.HasPrefix(line, "<!--") {
			flush()
			continue
		}
		if strings.HasPrefix(line, "#") {
			flush()
			promises, sure = line == promiseHeading, line == promisingBullets
			continue
		}
		if promises {
			continue
		}
		if !strings.HasPrefix(trimmed, "|") {
			header = nil
		}
		switch {
		case trimmed == "":
			flush()
		case separator.MatchString(trimmed):
		case strings.HasPrefix(trimmed, "|"):
			flush()
			row := cells(trimmed)
			if header == nil {
				header = row
				continue
			}
			out = append(out, rowUnits(file, i+1, header, row)...)
		case strings.HasPrefix(trimmed, "- "):
			flush()
			bullet, begin = true, i+1
			block = append(block, trimmed[2:])
		default:
			if block == nil {
				begin = i + 1
			}
			block = append(block, trimmed)
		}
	}
	flush()
	return out
}

// rowUnits are the cells of a row but the first, which says what the row is
// about. A table of scenarios says itself what proves it.
func rowUnits(file string, line int, header, row []string) (out []unit) {
	if header[0] == "scenario" {
		proof := strings.Trim(row[0], "`")
		if !strings.HasPrefix(proof, "make ") {
			proof = "scenario " + proof
		}
		return []unit{{file: file, line: line, text: strings.Join(row, " | "), proof: []string{proof}}}
	}
	for _, c := range row[1:] {
		if c != "" {
			out = append(out, unit{file: file, line: line, text: c})
		}
	}
	return out
}

// promise is a row of the table.
type promise struct {
	text   string
	proof  []string
	reason string // why it is none
	line   int
}

// promiseRows reads the table of promises.
func promiseRows(text string) (rows []promise, err error) {
	within, header := false, false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			within = line == promiseHeading
		case !within || !strings.HasPrefix(line, "|") || separator.MatchString(line):
		case !header:
			header = true
		default:
			row := cells(line)
			if len(row) != 2 || row[0] == "" || row[1] == "" {
				return nil, fmt.Errorf("line %d is no row of a sentence and its tests: %s", i+1, line)
			}
			p := promise{text: row[0], line: i + 1}
			if reason, ok := strings.CutPrefix(row[1], notAPromise); ok {
				p.reason = reason
			} else {
				for name := range strings.SplitSeq(row[1], ",") {
					p.proof = append(p.proof, strings.Trim(strings.TrimSpace(name), "`"))
				}
			}
			rows = append(rows, p)
		}
	}
	if !header {
		return nil, fmt.Errorf("no table under %q", promiseHeading)
	}
	return rows, nil
}

// checkPromises compares the sentences of documents with the table; proves tells
// whether a test of that name exists.
func checkPromises(documents map[string]string, proves func(name string) bool) (problems []string) {
	rows, err := promiseRows(documents[promiseTable])
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", promiseTable, err)}
	}
	table, standing := map[string]promise{}, map[string]bool{}
	for _, r := range rows {
		if _, twice := table[r.text]; twice {
			problems = append(problems, fmt.Sprintf("%s:%d: the sentence has a row already: %s", promiseTable, r.line, r.text))
		}
		table[r.text] = r
		for _, name := range r.proof {
			if !proves(name) {
				problems = append(problems, fmt.Sprintf("%s:%d: %q is no test of this tree (a test is TestName, FuzzName, "+
					"\"scenario name\", \"make target\" or command/name.txtar): %s", promiseTable, r.line, name, r.text))
			}
		}
	}
	for _, file := range promisingDocuments {
		for _, u := range units(file, documents[file]) {
			standing[u.text] = true
			for _, name := range u.proof {
				if !proves(name) {
					problems = append(problems, fmt.Sprintf("%s:%d: %q is no test of this tree: %s", u.file, u.line, name, u.text))
				}
			}
			if _, ok := table[u.text]; !ok && u.proof == nil && u.promises() {
				problems = append(problems, fmt.Sprintf("%s:%d promises something that no test is named for; add to the table in %s:\n"+
					"| %s | TestName |\nor, with the reason, \"%sreason\" in place of the test", u.file, u.line, promiseTable, strings.ReplaceAll(u.text, "|", `\|`), notAPromise))
			}
		}
	}
	for _, r := range rows {
		if !standing[r.text] {
			problems = append(problems, fmt.Sprintf("%s:%d: this sentence stands in no document that promises any more; take the row out or quote the new sentence: %s",
				promiseTable, r.line, r.text))
		}
	}
	return problems
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	scenarioName = regexp.MustCompile(`(?m)^\t\t\{"([a-z0-9-]+)", "`)
	makeTarget   = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
)

// treeTests lists by name what can prove a promise.
func treeTests(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	add := func(file string, pattern *regexp.Regexp, prefix string) {
		raw, err := os.ReadFile(filepath.Join("..", file))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, m := range pattern.FindAllSubmatch(raw, -1) {
			known[prefix+string(m[1])] = true
		}
	}
	for _, f := range sources(t, "*_test.go") {
		add(f, testFunction, "")
	}
	for _, f := range sources(t, "*.txtar") {
		known[strings.ReplaceAll(strings.TrimPrefix(f, "cmd/"), "/testdata/script/", "/")] = true
	}
	add("test/scenario/scenario.go", scenarioName, "scenario ")
	add("Makefile", makeTarget, "make ")
	return known
}

func TestEveryPromiseHasATest(t *testing.T) {
	documents := map[string]string{}
	for _, file := range promisingDocuments {
		raw, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		documents[file] = string(raw)
	}
	known := treeTests(t)
	if len(known) < 100 || !known["scenario install"] || !known["make ipvs"] || !known[t.Name()] {
		t.Fatalf("%d tests found: this test sees nothing", len(known))
	}
	for _, problem := range checkPromises(documents, func(name string) bool { return known[name] }) {
		t.Error(problem)
	}
}

func TestTheTableOfPromisesIsHeldToTheDocuments(t *testing.T) {
	documents := map[string]string{
		"README.md":          "# T\n\nIt reads files. It never\nlies.\n\n## Why another one\n\n- **One.** Blobs are small. It goes **on**\n  here.\n- **Two**: more\n\n```\nnever in code\n```\n",
		"docs/operations.md": "| on | path |\n|---|---|\n| every host | each `/x` a \\| b |\n\nSee v1.2 of it.\n",
		"docs/reliability.md": "| scenario | what |\n|---|---|\n| ha | every x |\n| gone | y |\n| `make ipvs` | z |\n\n" + promiseHeading + "\n\nWords never count here.\n\n" +
			"| sentence | shown by |\n|---|---|\n| It never lies. | TestA, `scenario ha` |\n| Blobs are small. | TestGone |\n" +
			"| each `/x` a \\| b | no promise: a place |\n| each `/x` a \\| b | TestA |\n| It was promised once. | TestA |\n",
	}
	known := map[string]bool{"TestA": true, "scenario ha": true, "make ipvs": true}
	var got []string
	for _, p := range checkPromises(documents, func(name string) bool { return known[name] }) {
		first, _, _ := strings.Cut(p, "\nor, ")
		got = append(got, first)
	}
	slices.Sort(got)
	add := func(place, sentence string) string {
		return place + " promises something that no test is named for; add to the table in docs/reliability.md:\n| " + sentence + " | TestName |"
	}
	const form = ` is no test of this tree (a test is TestName, FuzzName, "scenario name", "make target" or command/name.txtar): `
	if diff := cmp.Diff([]string{
		add("README.md:10", "Two: more"),
		add("README.md:8", "It goes on here."),
		"docs/reliability.md:14: \"TestGone\"" + form + "Blobs are small.",
		"docs/reliability.md:16: the sentence has a row already: each `/x` a | b",
		"docs/reliability.md:17: this sentence stands in no document that promises any more; take the row out or quote the new sentence: It was promised once.",
		"docs/reliability.md:4: \"scenario gone\" is no test of this tree: gone | y",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
