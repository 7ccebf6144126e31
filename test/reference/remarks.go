package reference

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A remark in the source says what a file or a variable of the environment is, beside the place where it is named:
//
//	//docs:file WHERE: WHAT           behind a constant that is its path
//	//docs:file WHERE PATH: WHAT      where the path is put together
//	//docs:env PROGRAM: WHAT          behind a constant that is its name
//	//docs:env PROGRAM NAME: WHAT     where it is read
var remark = regexp.MustCompile(`^//docs:(file|env) ([a-z]+)(?: ([^ ]+))?: (.+)$`)

// section is a part of a page of remarks, by the word behind their kind.
type section struct{ key, title string }

var (
	places = []section{
		{"here", "On the machine that installs"},
		{"hosts", "On every host"},
		{"masters", "On masters"},
		{"workers", "On workers"},
		{"builder", "On the machine that builds"},
	}
	programs = []section{{"sealinstall", "sealinstall"}, {"sealbuild", "sealbuild"}, {"both", "Both programs"}}
)

// row is what one remark says.
type row struct{ key, name, what string }

// remarks reads all remarks of a kind.
func (s *Source) remarks(kind string, sections []section) (out []row, err error) {
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
				m := remark.FindStringSubmatch(c.Text)
				if m == nil {
					return nil, fmt.Errorf("%s: expected //docs:file WHERE [PATH]: WHAT or //docs:env PROGRAM [NAME]: WHAT", at)
				}
				if m[1] != kind {
					continue
				}
				if !slices.ContainsFunc(sections, func(s section) bool { return s.key == m[2] }) {
					return nil, fmt.Errorf("%s: %q is none of %v", at, m[2], sections)
				}
				name := m[3]
				if name == "" {
					name = byLine[at.Line]
				}
				if name == "" || kind == "file" && !path.IsAbs(name) && !strings.HasPrefix(name, "~/") {
					return nil, fmt.Errorf("%s: no path or name: %q", at, name)
				}
				out = append(out, row{m[2], name, m[4]})
			}
		}
	}
	slices.SortFunc(out, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// tables writes the sections of a page.
func tables(b *strings.Builder, rows []row, sections []section, header string) {
	for _, w := range sections {
		fmt.Fprintf(b, "\n## %s\n\n| %s | what |\n|---|---|\n", w.title, header)
		for _, r := range rows {
			if r.key == w.key {
				fmt.Fprintf(b, "| `%s` | %s |\n", r.name, cell(r.what))
			}
		}
	}
}

// Files writes the page of files and directories that the programs keep, from the remarks where their paths are declared.
func (s *Source) Files() (string, error) {
	rows, err := s.remarks("file", places)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(made + `# Files

What the programs keep beside the file that was asked for, and where. Paths with ` + "`<cluster>`" + ` have the name of the cluster in
their place, ` + "`default`" + ` where none was given. What the scripts of a cluster image put on hosts is told with that image:
[cluster-images/kubernetes](../../cluster-images/kubernetes/README.md) for ours.
`)
	tables(&b, rows, places, "path")
	return b.String(), nil
}

// ordinary are variables that every program reads.
var ordinary = []string{"PATH", "USER"}

// Environment writes the page of the variables that the programs read. One that is read and has no remark is an error.
func (s *Source) Environment() (string, error) {
	rows, err := s.remarks("env", programs)
	if err != nil {
		return "", err
	}
	for i := range s.files {
		f := &s.files[i]
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Getenv" && sel.Sel.Name != "LookupEnv" {
				return true
			}
			name, unknown := s.text(call.Args[0], f)
			if unknown == nil && !strings.HasPrefix(name, "_") && !slices.Contains(ordinary, name) &&
				!slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
				err = fmt.Errorf("%s: what is the variable %s? say it: //docs:env PROGRAM %s: WHAT", s.set.Position(call.Pos()), name, name)
			}
			return true
		})
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(made + "# Environment\n\nWhat the programs read of their environment. Variables of cluster images are another thing: they are given with `-e`.\n")
	tables(&b, rows, programs, "variable")
	return b.String(), nil
}
