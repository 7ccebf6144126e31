package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/sealbuild/sealbuild/"

// Source is the product's own Go, as it is written.
type Source struct {
	files     []file
	constants map[string]map[string]constant // by directory and name
	set       *token.FileSet
}

type file struct {
	name    string // below the root
	ast     *ast.File
	imports map[string]string // directories of this module, by the name in the file
}

type constant struct {
	value ast.Expr
	file  *file
}

// ReadSource parses the Go files below some directories of the repository, tests and their helpers left out.
func ReadSource(root string, dirs ...string) (*Source, error) {
	s := &Source{constants: map[string]map[string]constant{}, set: token.NewFileSet()}
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() {
				if base := e.Name(); base == "testdata" || strings.HasSuffix(base, "test") {
					return filepath.SkipDir
				}
				return nil
			}
			if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			return s.read(root, name)
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Source) read(root, name string) error {
	tree, err := parser.ParseFile(s.set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	below, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	f := file{name: filepath.ToSlash(below), ast: tree, imports: map[string]string{}}
	for _, i := range tree.Imports {
		from, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		if dir, ok := strings.CutPrefix(from, module); ok {
			as := path.Base(dir)
			if i.Name != nil {
				as = i.Name.Name
			}
			f.imports[as] = dir
		}
	}
	s.files = append(s.files, f)
	dir := path.Dir(f.name)
	if s.constants[dir] == nil {
		s.constants[dir] = map[string]constant{}
	}
	for _, spec := range valueSpecs(tree) {
		for i, n := range spec.Names {
			if i < len(spec.Values) {
				s.constants[dir][n.Name] = constant{spec.Values[i], &f}
			}
		}
	}
	return nil
}

func valueSpecs(tree *ast.File) (out []*ast.ValueSpec) {
	for _, d := range tree.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			out = append(out, specs(g)...)
		}
	}
	return out
}

func specs(g *ast.GenDecl) (out []*ast.ValueSpec) {
	for _, spec := range g.Specs {
		if v, ok := spec.(*ast.ValueSpec); ok {
			out = append(out, v)
		}
	}
	return out
}

// text is the value of an expression of constants that are strings.
func (s *Source) text(e ast.Expr, f *file) (string, error) {
	named := func(dir, name string) (string, error) {
		c, ok := s.constants[dir][name]
		if !ok {
			return "", fmt.Errorf("%s has no constant %s", dir, name)
		}
		return s.text(c.value, c.file)
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.Ident:
		return named(path.Dir(f.name), e.Name)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return named(f.imports[x.Name], e.Sel.Name)
		}
	case *ast.BinaryExpr:
		left, err := s.text(e.X, f)
		if err != nil {
			return "", err
		}
		right, err := s.text(e.Y, f)
		return left + right, err
	}
	return "", fmt.Errorf("%s: no constant text", s.set.Position(e.Pos()))
}

// block finds the constants of a file that are declared together with one of them.
func (s *Source) block(name, constant string) *ast.GenDecl {
	for _, f := range s.files {
		if f.name != name {
			continue
		}
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			if slices.ContainsFunc(specs(g), func(v *ast.ValueSpec) bool { return v.Names[0].Name == constant }) {
				return g
			}
		}
	}
	return nil
}

// listed reads the texts that a function of the source returns as a list, with the remark behind each.
func (s *Source) listed(name, function string) (out [][2]string, err error) {
	for _, f := range s.files {
		if f.name != name {
			continue
		}
		remarks := map[int]string{} // by line
		for _, g := range f.ast.Comments {
			remarks[s.set.Position(g.Pos()).Line] = strings.TrimSpace(strings.TrimPrefix(g.List[0].Text, "//"))
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.Name != function {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, unquoted := strconv.Unquote(lit.Value)
					remark := remarks[s.set.Position(lit.Pos()).Line]
					if unquoted != nil || remark == "" {
						err = fmt.Errorf("%s: what is %s?", s.set.Position(lit.Pos()), lit.Value)
					}
					out = append(out, [2]string{text, remark})
				}
				return true
			})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no %s", name, function)
	}
	return out, err
}
