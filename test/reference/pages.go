package reference

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Exits writes the page of exit statuses: the constants of both programs, with the remark at each.
func (s *Source) Exits() (string, error) {
	var b strings.Builder
	b.WriteString(made + "# Exit statuses\n")
	for _, p := range []struct{ program, file string }{{"sealinstall", "cmd/sealinstall/main.go"}, {"sealbuild", "cmd/sealbuild/main.go"}} {
		g := s.block(p.file, "exitFailed")
		if g == nil {
			return "", fmt.Errorf("%s has no exit statuses", p.file)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| status | means |\n|---|---|\n", p.program, strings.Join(strings.Fields(g.Doc.Text()), " "))
		for _, spec := range specs(g) {
			if spec.Comment == nil {
				return "", fmt.Errorf("%s: what does %s mean?", p.file, spec.Names[0].Name)
			}
			status, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return "", fmt.Errorf("%s: %s is no number", p.file, spec.Names[0].Name)
			}
			fmt.Fprintf(&b, "| %s | %s |\n", status.Value, cell(spec.Comment.Text()))
		}
	}
	return b.String(), nil
}

// Checks writes the page of what is looked at before a host is changed.
func (s *Source) Checks() (string, error) {
	const file = "installer/preflight/checks.go"
	var b strings.Builder
	b.WriteString(made + `# Checks

Each problem that a run is refused for (exit status 3), and each warning, names the check that found it; so do the JSON of
` + "`-o json`" + ` and the events of ` + "`--progress json`" + `. All hosts are checked before the first is changed.

## Checks that can be passed by name

With ` + "`--ignore-check NAME`" + ` a problem of these is a warning.

`)
	for i, function := range []string{"Checks", "Essential"} {
		rows, err := s.listed(file, function)
		if err != nil {
			return "", err
		}
		if i == 1 {
			b.WriteString("\n## Checks that always count\n\n")
		}
		b.WriteString("| check | looks at |\n|---|---|\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "| `%s` | %s |\n", r[0], cell(r[1]))
		}
	}
	return b.String(), nil
}

// place is a remark in the source about a file that the program writes:
//
//	//docs:file WHERE: WHAT           behind a constant that is its path
//	//docs:file WHERE PATH: WHAT      where the path is put together
var place = regexp.MustCompile(`^//docs:file ([a-z]+)(?: ([^ ]+))?: (.+)$`)

// whose are the machines that files lie on, in the order of the page.
var whose = []struct{ key, title string }{
	{"here", "On the machine that installs"},
	{"hosts", "On every host"},
	{"masters", "On masters"},
	{"workers", "On workers"},
	{"builder", "On the machine that builds"},
}

// Files writes the page of files and directories that the programs write, from the remarks where their paths are declared.
func (s *Source) Files() (string, error) {
	rows := map[string][]string{}
	for i := range s.files {
		f := &s.files[i]
		byLine := map[int]string{} // constants by the line that declares them
		for _, spec := range valueSpecs(f.ast) {
			for n := range spec.Values {
				if text, err := s.text(spec.Values[n], f); err == nil {
					byLine[s.set.Position(spec.Pos()).Line] = text
				}
			}
		}
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				if !strings.HasPrefix(c.Text, "//docs:") {
					continue
				}
				at := s.set.Position(c.Pos())
				m := place.FindStringSubmatch(c.Text)
				if m == nil || !slices.ContainsFunc(whose, func(w struct{ key, title string }) bool { return w.key == m[1] }) {
					return "", fmt.Errorf("%s: expected //docs:file WHERE [PATH]: WHAT", at)
				}
				name := m[2]
				if name == "" {
					name = byLine[at.Line]
				}
				if !path.IsAbs(name) && !strings.HasPrefix(name, "~/") {
					return "", fmt.Errorf("%s: no path: %q", at, name)
				}
				rows[m[1]] = append(rows[m[1]], fmt.Sprintf("| `%s` | %s |\n", name, cell(m[3])))
			}
		}
	}
	var b strings.Builder
	b.WriteString(made + `# Files

What the programs keep beside the file that was asked for, and where. Paths with ` + "`<cluster>`" + ` have the name of the cluster in
their place, ` + "`default`" + ` where none was given. What the scripts of a cluster image put on hosts is told with that image:
[cluster-images/kubernetes](../../cluster-images/kubernetes/README.md) for ours.
`)
	for _, w := range whose {
		if len(rows[w.key]) == 0 {
			return "", fmt.Errorf("no file is written %s", w.title)
		}
		slices.SortFunc(rows[w.key], func(a, b string) int { // by path: the mark at its end comes before every letter
			return strings.Compare(strings.ReplaceAll(a, "`", "\x00"), strings.ReplaceAll(b, "`", "\x00"))
		})
		fmt.Fprintf(&b, "\n## %s\n\n| path | what |\n|---|---|\n%s", w.title, strings.Join(rows[w.key], ""))
	}
	return b.String(), nil
}
