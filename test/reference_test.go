package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/reference"
)

// What the pages say of exit statuses, checks, files and JSON stands where the program has it.
func TestTheReferenceIsThatOfTheSource(t *testing.T) {
	source, err := reference.ReadSource("..", "cmd/sealbuild", "cmd/sealinstall", "installer", "registry", "bundle", "ground")
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]func() (string, error){"exit-status.md": source.Exits, "checks.md": source.Checks, "files.md": source.Files, "environment.md": source.Environment} {
		text, err := page()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		reference.Hold(t, name, text)
	}
	schemas := map[string][]byte{}
	files, err := filepath.Glob("../docs/schemas/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if schemas[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	text, err := reference.Schemas(schemas)
	if err != nil {
		t.Fatal(err)
	}
	reference.Hold(t, "json.md", text)
}

// The pages are made of what is written in Go, so a remark that is none must not pass in silence.
func TestTheReferenceReadsRemarksOfTheSource(t *testing.T) {
	const head = "package p\n\nimport \"github.com/sealbuild/sealbuild/q\"\n\n"
	page := (*reference.Source).Files
	read := func(text string) (string, error) {
		t.Helper()
		root := t.TempDir()
		for name, content := range map[string]string{"p/p.go": head + text, "q/q.go": "package q\n\nconst Root = \"/var/lib/x\"\n"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		source, err := reference.ReadSource(root, ".")
		if err != nil {
			t.Fatal(err)
		}
		return page(source)
	}
	all := "//docs:file here /h: h\n//docs:file hosts /a/<b>: all | c\n//docs:file workers /w: w\n//docs:file builder /b: b\n"
	got, err := read("const own = \"/f\"\nconst file = q.Root + own //docs:file masters: the file\n" + all)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"## On masters\n\n| path | what |\n|---|---|\n| `/var/lib/x/f` | the file |\n", "| `/a/<b>` | all \\| c |\n"} {
		if !strings.Contains(got, row) {
			t.Errorf("the page lacks %q:\n%s", row, got)
		}
	}
	for text, want := range map[string]string{
		"//docs:file everywhere /x: x\n": `"everywhere" is none of`,
		"//docs:files here /x: x\n":      "expected //docs:file WHERE [PATH]: WHAT",
		"//docs:file here: no path\n":    "no path or name",
		"//docs:file here relative: x\n": "no path or name",
	} {
		if _, err := read(all + text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	page = (*reference.Source).Environment
	got, err = read("const mode = \"TOOL_MODE\" //docs:env both: the mode\n\nvar a, b, c = os.Getenv(mode), os.Getenv(\"PATH\"), os.Getenv(\"_INNER\")\n")
	if want := "## Both programs\n\n| variable | what |\n|---|---|\n| `TOOL_MODE` | the mode |\n"; err != nil || !strings.Contains(got, want) {
		t.Errorf("%v: the page lacks %q:\n%s", err, want, got)
	}
	if _, err := read("var _, _ = os.LookupEnv(\"TOOL_MODE\")\n"); err == nil || !strings.Contains(err.Error(), "what is the variable TOOL_MODE?") {
		t.Errorf("a variable without a remark: %v", err)
	}
}

func TestASchemaBecomesTables(t *testing.T) {
	got, err := reference.Schemas(map[string][]byte{"x.schema.json": []byte(`{"title": "X", "description": "An <x>.", "type": "object",
 "required": ["a"], "properties": {"a": {"type": "string", "format": "date-time", "description": "one | two"},
  "b": {"type": "array", "items": {"$ref": "#/$defs/part"}}, "c": {"enum": ["y", "z"]}, "d": {"type": "object", "additionalProperties": {"type": "integer"}},
  "e": {"type": ["string", "null"]}},
 "$defs": {"part": {"type": "object", "properties": {"n": {"const": 1}}}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(got, "## x\n")
	want := "\nX: [x.schema.json](../schemas/x.schema.json)\n\nAn &lt;x>.\n\n| field | is | means |\n|---|---|---|\n" +
		"| `a` | string (date-time), always | one \\| two |\n| `b` | list of [part](#x-part) |  |\n| `c` | `y` or `z` |  |\n| `d` | object of integer |  |\n" +
		"| `e` | string null |  |\n\n### x: part\n\n| field | is | means |\n|---|---|---|\n| `n` | `1` |  |\n"
	if diff := cmp.Diff(want, tables); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := reference.Schemas(map[string][]byte{"y.schema.json": []byte(`{}`)}); err == nil {
		t.Error("a schema that says nothing is taken")
	}
}
