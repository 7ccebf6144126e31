package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/documents"
)

// languages are those that a block of the documents may be in. What a reader types is in the first two.
var languages = []string{documents.Shell, documents.Console, "text", "json", "yaml", "dockerfile", "mermaid"}

// checkBlocks tells what is wrong with the blocks of documents: each says its language, and each with commands says which test or
// scenario runs them, or why none does. read gives a file of the repository.
func checkBlocks(all []documents.Document, proves func(string) bool, read func(string) (string, error)) (problems []string) {
	for _, d := range all {
		for _, b := range d.Blocks {
			place := fmt.Sprintf("%s:%d", d.Path, b.Line)
			commands := b.Lang == documents.Shell || b.Lang == documents.Console
			if !slices.Contains(languages, b.Lang) {
				problems = append(problems, fmt.Sprintf("%s: a block says its language, one of %v, not %q", place, languages, b.Lang))
			}
			if commands && b.RunBy == nil && b.NotRun == "" && !strings.HasPrefix(d.Path, documents.Generated+"/") {
				problems = append(problems, place+": who runs these commands? say it in a line before the block: <!-- run by: TestName, scenario name --> "+
					"or, with the reason, <!-- not run: REASON -->")
			}
			for _, name := range b.RunBy {
				if !proves(name) {
					problems = append(problems, fmt.Sprintf("%s: %q is no test of this tree", place, name))
				}
			}
			if b.Shows != "" {
				text, err := read(b.Shows)
				if err != nil {
					problems = append(problems, fmt.Sprintf("%s: %v", place, err))
				} else if strings.TrimRight(text, "\n") != strings.TrimRight(b.Text, "\n") {
					problems = append(problems, fmt.Sprintf("%s: this is not the text of %s:\n%s", place, b.Shows, cmp.Diff(text, b.Text)))
				}
			}
		}
	}
	return problems
}

// checkScripts tells of blocks that scripts of our programs are said to run, and that call a command which none of these scripts
// has. script gives the text of one.
func checkScripts(all []documents.Document, script func(name string) (string, error)) (problems []string) {
	for _, d := range all {
		for _, b := range d.Blocks {
			if b.RunBy == nil || slices.ContainsFunc(b.RunBy, func(name string) bool { return !strings.HasSuffix(name, ".txtar") }) {
				continue
			}
			var have strings.Builder
			for _, name := range b.RunBy {
				text, err := script(name)
				if err != nil {
					problems = append(problems, fmt.Sprintf("%s:%d: %v", d.Path, b.Line, err))
				}
				have.WriteString(text)
			}
			commands, err := documents.Document{Path: d.Path, Blocks: []documents.Block{b}}.Commands()
			if err != nil {
				problems = append(problems, err.Error())
			}
			for _, c := range commands {
				words := slices.DeleteFunc(slices.Clone(c.Args), func(a string) bool { return strings.HasPrefix(a, "-") })
				if call := c.Program + " " + strings.Join(words[:min(1, len(words))], ""); !strings.Contains(have.String(), call) {
					problems = append(problems, fmt.Sprintf("%s: none of %v calls %s", c, b.RunBy, call))
				}
			}
		}
	}
	return problems
}

// proofs begin the line of a page about a bad day that names what shows that it is true.
const proofs = "Shown by: "

// checkPages tells which pages about bad days do not end in the tests and scenarios that show them to be true.
func checkPages(texts map[string]string, proves func(string) bool) (problems []string) {
	for name, text := range texts {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		list, ok := strings.CutPrefix(lines[len(lines)-1], proofs)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: its last line is %q and the tests and scenarios that show it to be true", name, proofs))
			continue
		}
		for proof := range strings.SplitSeq(strings.TrimSuffix(list, "."), ",") {
			if proof = strings.Trim(strings.TrimSpace(proof), "`"); !proves(proof) {
				problems = append(problems, fmt.Sprintf("%s: %q is no test of this tree", name, proof))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func readDocuments(t *testing.T) []documents.Document {
	t.Helper()
	all, err := documents.All("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("%d documents found: this test sees nothing", len(all))
	}
	return all
}

// The rules for links hold for every Markdown file of the tree.
func TestTheLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	var all []documents.Document
	links := 0
	for _, name := range sources(t, "*.md") {
		if strings.Contains(name, "testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		d, err := documents.Parse(name, string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
		links += len(d.Links)
	}
	if links < 50 {
		t.Fatalf("%d links found: this test sees nothing", links)
	}
	for _, problem := range documents.Broken(all, func(name string) bool {
		_, err := os.Stat(filepath.Join("..", name))
		return err == nil
	}) {
		t.Error(problem)
	}
}

// From the index of docs a reader gets to every page of it.
func TestEveryDocumentIsInTheIndex(t *testing.T) {
	listed := map[string]bool{"docs/README.md": true}
	for _, d := range readDocuments(t) {
		for _, l := range d.Links {
			if d.Path == "docs/README.md" || listed[d.Path] {
				target, _, _ := strings.Cut(l.Target, "#")
				listed[filepath.Join(filepath.Dir(d.Path), target)] = true
			}
		}
	}
	for _, d := range readDocuments(t) {
		if strings.HasPrefix(d.Path, "docs/") && !listed[d.Path] {
			t.Errorf("docs/README.md does not lead to %s", d.Path)
		}
	}
}

func TestTheCommandsOfTheDocumentsSayWhoRunsThem(t *testing.T) {
	known := treeTests(t)
	for _, problem := range checkBlocks(readDocuments(t), func(name string) bool { return known[name] }, func(name string) (string, error) {
		text, err := os.ReadFile(filepath.Join("..", name))
		return string(text), err
	}) {
		t.Error(problem)
	}
}

func TestScriptsCallTheCommandsThatTheyAreSaidToRun(t *testing.T) {
	for _, problem := range checkScripts(readDocuments(t), func(name string) (string, error) {
		program, file, _ := strings.Cut(name, "/")
		text, err := os.ReadFile(filepath.Join("..", "cmd", program, "testdata", "script", file))
		return string(text), err
	}) {
		t.Error(problem)
	}
}

func TestThePagesOfBadDaysNameWhatShowsThem(t *testing.T) {
	texts := map[string]string{}
	pages, err := filepath.Glob("../docs/operations/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = string(text)
	}
	if len(texts) < 10 {
		t.Fatalf("%d pages found: this test sees nothing", len(texts))
	}
	known := treeTests(t)
	for _, problem := range checkPages(texts, func(name string) bool { return known[name] }) {
		t.Error(problem)
	}
}

// Targets of the Makefile, and scenarios that it is given, exist. What the two programs are called with their own tests look at.
func TestTheDocumentsMakeWhatThereIs(t *testing.T) {
	known, checked := treeTests(t), 0
	for _, d := range readDocuments(t) {
		commands, err := d.Commands()
		if err != nil {
			t.Error(err)
		}
		for _, c := range commands {
			if c.Program != "make" {
				continue
			}
			checked++
			for _, word := range c.Args {
				if key, value, ok := strings.Cut(word, "="); ok {
					for name := range strings.SplitSeq(value, ",") {
						if key == "SCENARIO" && name != "name" && name != "all" && !known["scenario "+name] {
							t.Errorf("%s: no scenario is called %s", c, name)
						}
					}
				} else if !known["make "+word] {
					t.Errorf("%s: the Makefile has no target %s", c, word)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d commands found: this test sees nothing", checked)
	}
}

func TestTheLintOfDocumentsSeesWhatIsWrong(t *testing.T) {
	parse := func(name, text string) documents.Document {
		t.Helper()
		d, err := documents.Parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one := parse("docs/one.md", "# A title, `x`\n\n## Same\n\n## Same\n\n[self](#a-title-x) [second](#same-1) [gone](#same-2) [there](two.md#b) [not](two.md#c)\n"+
		"[up](../up.md) [far](https://example.com/x#y) `[code](no.md)` ![picture](media/p.svg)\n\n"+
		"```\nno language\n```\n\n```sh\nnobody\n```\n\n<!-- run by: TestA, scenario gone -->\n\n```sh\nx\n```\n\n<!-- not run: it cannot -->\n```console\nhost# y\n```\n\n"+
		"<!-- shows: file -->\n```text\nother\n```\n")
	two := parse("docs/two.md", "# B\n")
	if diff := cmp.Diff([]string{
		"docs/one.md:7: the link #same-2 leads to #same-2, and docs/one.md has no such heading",
		"docs/one.md:7: the link two.md#c leads to #c, and docs/two.md has no such heading",
		"docs/one.md:8: the link ../up.md leads to up.md, which is not there",
		"docs/one.md:8: the link media/p.svg leads to docs/media/p.svg, which is not there",
	}, documents.Broken([]documents.Document{one, two}, func(name string) bool { return strings.HasPrefix(name, "docs/") && !strings.Contains(name, "media") })); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	var got []string
	for _, p := range checkBlocks([]documents.Document{one}, func(name string) bool { return name == "TestA" }, func(string) (string, error) { return "the text\n", nil }) {
		first, _, _ := strings.Cut(p, "\n")
		got = append(got, strings.SplitN(first, "? ", 2)[0])
	}
	if diff := cmp.Diff([]string{
		`docs/one.md:11: a block says its language, one of [sh console text json yaml dockerfile mermaid], not ""`,
		"docs/one.md:15: who runs these commands",
		`docs/one.md:21: "scenario gone" is no test of this tree`,
		"docs/one.md:31: this is not the text of file:",
	}, got); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	three := parse("docs/three.md", "<!-- run by: tool/a.txtar -->\n```sh\n./sealinstall verify\n./sealinstall gc --last 2\n```\n<!-- run by: tool/a.txtar, TestA -->\n```sh\n./sealinstall other\n```\n")
	if diff := cmp.Diff([]string{"docs/three.md:4: sealinstall gc --last 2: none of [tool/a.txtar] calls sealinstall gc"},
		checkScripts([]documents.Document{three}, func(string) (string, error) { return "exec sealinstall verify\n", nil })); diff != "" {
		t.Errorf("scripts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`a.md: "scenario gone" is no test of this tree`,
		`b.md: its last line is "Shown by: " and the tests and scenarios that show it to be true`,
	}, checkPages(map[string]string{"a.md": "# A\n\nShown by: `TestA`, `scenario gone`.\n", "b.md": "# B\n"}, func(name string) bool { return name == "TestA" })); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{"```sh\nx": "docs/x.md:2: this block has no end", "<!-- run by: TestA -->\ntext": "docs/x.md:2: a comment says who runs a block, and no block follows it"} {
		if _, err := documents.Parse("docs/x.md", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestTheCommandsOfADocumentAreRead(t *testing.T) {
	d, err := documents.Parse("x.md", "Say `./sealinstall add --masters` or `sealbuild [flags]`, `sealinstall`.\n\n```sh\ncd dir && sudo ./app.run upgrade --dry-run   # remark\n"+
		"X=1 sealbuild -t 'a b' \\\n  -o none . >log | tee x\nother\n```\n\n```console\nmaster1# /var/lib/sealos/bin/sealinstall registry gc --last 2\nremoved sealbuild images\n$ make unit UNIT=./x/...\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	commands, err := d.Commands()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range commands {
		got = append(got, fmt.Sprintf("%s %q %v", c.Program, c.Args, c.Inline))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		`make ["unit" "UNIT=./x/..."] false`,
		`sealbuild ["-t" "a b" "-o" "none" "."] false`,
		`sealinstall ["add" "--masters"] true`,
		`sealinstall ["registry" "gc" "--last" "2"] false`,
		`sealinstall ["upgrade" "--dry-run"] false`,
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
