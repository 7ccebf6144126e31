package reference

import (
	"fmt"
	"go/ast"
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
