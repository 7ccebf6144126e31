// Command removals writes the table of API versions that Kubernetes does not serve any more, out of what the modules of its types
// say of themselves. It is run by hand when a new minor version is to be known:
//
//	go run ./test/removals >installer/compat/apis/removed.txt
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modules are read from the oldest on. What a later one does not have any more is gone with its minor version. The kinds of the
// last two have not changed for long.
func modules() []string {
	return []string{
		"k8s.io/api@v0.21.14", "k8s.io/api@v0.25.16", "k8s.io/api@v0.28.15", "k8s.io/api@v0.29.15", "k8s.io/api@v0.30.14", "k8s.io/api@v0.31.14", "k8s.io/api@v0.32.10",
		"k8s.io/api@v0.33.6", "k8s.io/api@v0.34.2", "k8s.io/api@v0.35.2", "k8s.io/api@v0.36.3", "k8s.io/api@v0.37.1",
		"k8s.io/apiextensions-apiserver@v0.36.3", "k8s.io/kube-aggregator@v0.36.3",
	}
}

// kind is a kind of an API version: policy/v1beta1 PodSecurityPolicy. The core group has no name: v1 Pod.
type kind struct{ version, name string }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "removals:", err)
		os.Exit(1)
	}
}

func run() error {
	removed, last := map[kind]int{}, map[kind]int{} // in which minor version; the last one that has it
	newest := 0
	for _, module := range modules() {
		dir, err := download(module)
		if err != nil {
			return err
		}
		_, version, _ := strings.Cut(module, "@v0.")
		minor, err := strconv.Atoi(strings.Split(version, ".")[0])
		if err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
		newest = max(newest, minor)
		found, err := kinds(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
		for k, in := range found {
			removed[k], last[k] = in, minor
		}
	}
	fmt.Printf("# Made by test/removals: API version, kind, and the minor version of Kubernetes that does not serve it any more.\nupto %d\n", newest)
	for _, k := range slices.SortedFunc(maps.Keys(removed), func(a, b kind) int { return strings.Compare(a.version+" "+a.name, b.version+" "+b.name) }) {
		in := removed[k]
		if last[k] < newest { // no type, so nothing is served, whatever was planned
			in = min(in, next(last[k]))
		}
		if in == never {
			continue
		}
		fmt.Println(k.version, k.name, in)
	}
	return nil
}

// next is the minor version of the module that follows.
func next(minor int) int {
	for _, module := range modules() {
		_, version, _ := strings.Cut(module, "@v0.")
		if n, err := strconv.Atoi(strings.Split(version, ".")[0]); err == nil && n > minor {
			return n
		}
	}
	return minor + 1
}

// download gives the directory of a module.
func download(module string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w: %s", module, err, out)
	}
	var told struct{ Dir string }
	err = json.Unmarshal(out, &told)
	return told.Dir, err
}

// never is the minor version in which a kind is removed of which nobody says it.
const never = 1 << 30

// kinds reads from the types below a directory in which minor version each kind of an alpha or beta version is removed.
func kinds(dir string) (map[kind]int, error) {
	out := map[kind]int{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		version := filepath.Base(filepath.Dir(name))
		if err != nil || d.Name() != "types.go" && d.Name() != "zz_generated.prerelease-lifecycle.go" || !strings.Contains(version, "alpha") && !strings.Contains(version, "beta") {
			return err
		}
		group, err := groupOf(filepath.Dir(name))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			of, minor, err := kindIn(declared)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if k := (kind{group + "/" + version, of}); of != "" && !strings.HasSuffix(of, "List") && (minor != never || out[k] == 0) {
				out[k] = minor
			}
		}
		return nil
	})
	return out, err
}

// kindIn gives the kind that a declaration is about: the type of an object, or the function that says in which minor version it is
// removed. There is none if it is about something else.
func kindIn(declared ast.Decl) (name string, minor int, err error) {
	switch d := declared.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == "APILifecycleRemoved" {
			minor, err = minorOf(d)
			return d.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name, minor, err
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			t, ok := s.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if object, ok := t.Type.(*ast.StructType); ok && embeds(object, "TypeMeta") && embeds(object, "ObjectMeta") {
				return t.Name.Name, never, nil
			}
		}
	}
	return "", 0, nil
}

func embeds(object *ast.StructType, name string) bool {
	return slices.ContainsFunc(object.Fields.List, func(f *ast.Field) bool {
		of, ok := f.Type.(*ast.SelectorExpr)
		return ok && len(f.Names) == 0 && of.Sel.Name == name
	})
}

// minorOf reads `return 1, 25`.
func minorOf(f *ast.FuncDecl) (int, error) {
	if ret, ok := f.Body.List[0].(*ast.ReturnStmt); ok && len(ret.Results) == 2 {
		if major, ok := ret.Results[0].(*ast.BasicLit); ok && major.Value == "1" {
			if minor, ok := ret.Results[1].(*ast.BasicLit); ok {
				return strconv.Atoi(minor.Value)
			}
		}
	}
	return 0, fmt.Errorf("it does not return a version")
}

// groupOf reads the constant GroupName beside the types of an API version.
func groupOf(dir string) (string, error) {
	packages, err := filepath.Glob(filepath.Join(dir, "register.go"))
	if err != nil || len(packages) != 1 {
		return "", fmt.Errorf("%s has no register.go: %w", dir, err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), packages[0], nil, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	for _, declared := range file.Decls {
		g, ok := declared.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			if v, ok := s.(*ast.ValueSpec); ok && v.Names[0].Name == "GroupName" && len(v.Values) == 1 {
				if text, ok := v.Values[0].(*ast.BasicLit); ok {
					return strconv.Unquote(text.Value)
				}
			}
		}
	}
	return "", fmt.Errorf("%s names no group", dir)
}
