// Package test checks what holds for the source tree as a whole.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/sealbuild/sealbuild"
	// tags are those of the Makefile: without them the builder needs cgo.
	tags = "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper"
)

// mayImport is the import table of docs/architecture.md: what a directory may
// import of this module beside itself, by first match. A trailing /... takes in
// everything below.
//
// The ground floor imports nothing of this module, and everybody may stand on it.
var mayImport = []struct {
	dir   string
	takes []string
}{
	{ground, nil},
	{"kubefile/...", nil},
	{"bundle", nil},
	{"bundle/assemble/...", []string{"kubefile/...", "bundle", "bundle/assemble/...", "registry/..."}},
	{"registry/...", nil},
	{"installer/host/...", nil},
	{"installer/kubeadm/...", nil},
	{"installer/certs/...", nil},
	{"installer/care/...", nil},
	{"installer/etcd/...", nil},
	{"installer/guest/...", nil},
	{"installer/node/...", []string{"installer/host", "installer/care", "registry"}},
	{"installer/steps/...", []string{"installer/...", "registry/...", "bundle"}},
	{"installer", []string{"installer/host"}},
	{"cluster-images/...", []string{"..."}}, // data, and tests of it: no Go that anybody could import
	{"cmd/...", []string{"..."}},
	{"test/...", []string{"..."}},
}

// ground is what every package may import.
const ground = "ground/..."

// offline lists what must not be in sealinstall: with these it could reach out
// of the site, or would carry the builder along.
var offline = regexp.MustCompile(`^(` + module + `/(bundle/assemble|kubefile)|github\.com/containers/|go\.podman\.io/|helm\.sh/|k8s\.io/|` +
	`github\.com/docker/docker/|github\.com/moby/buildkit|github\.com/google/go-containerregistry|oras\.land/)`)

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// goList runs go list -json in the module's root.
func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-tags", tags, "-json=ImportPath,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func within(dir, pattern string) bool {
	if pattern == "..." {
		return true
	}
	if top, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == top || strings.HasPrefix(dir, top+"/")
	}
	return dir == pattern
}

// checkImport tells whether dir may import what, both below the module's root.
func checkImport(dir, what string) error {
	for _, rule := range mayImport {
		if !within(dir, rule.dir) {
			continue
		}
		if within(what, rule.dir) || within(what, ground) || slices.ContainsFunc(rule.takes, func(p string) bool { return within(what, p) }) {
			return nil
		}
		return fmt.Errorf("%s imports %s: the table in docs/architecture.md allows %s only itself and %v", dir, what, dir, rule.takes)
	}
	return fmt.Errorf("%s has no row in the import table", dir)
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	seen := 0
	for _, p := range goList(t, "./...") {
		dir, ok := strings.CutPrefix(p.ImportPath, module+"/")
		if !ok {
			continue // the module's root holds no code of the product
		}
		seen++
		for _, imported := range p.Imports {
			if what, ok := strings.CutPrefix(imported, module+"/"); ok {
				if err := checkImport(dir, what); err != nil {
					t.Error(err)
				}
			}
		}
		// Tests may use the product's fakes and the test tree, and nothing else
		// that their package may not.
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			what, ok := strings.CutPrefix(imported, module+"/")
			if !ok || what == dir || strings.HasPrefix(what, "test/") || strings.HasSuffix(what, "test") {
				continue
			}
			if err := checkImport(dir, what); err != nil {
				t.Errorf("in its tests, %v", err)
			}
		}
	}
	if seen < 5 {
		t.Errorf("go list shows %d packages of the product: this test sees nothing", seen)
	}
}

func TestTheTableTellsRightFromWrong(t *testing.T) {
	for _, c := range []struct {
		dir, what string
		ok        bool
	}{
		{"bundle", "registry", false},
		{"bundle", "bundle/assemble", false},
		{"bundle", "ground/durable", true},
		{"installer/care", "ground/durable", true},
		{"ground/durable", "bundle", false},
		{"bundle/assemble/scan", "kubefile", true},
		{"installer", "installer/node", false},
		{"installer/node", "registry", true},
		{"installer/steps", "bundle/assemble", false},
		{"cmd/sealinstall", "installer/steps", true},
		{"elsewhere", "bundle", false},
	} {
		if err := checkImport(c.dir, c.what); (err == nil) != c.ok {
			t.Errorf("%s -> %s: %v", c.dir, c.what, err)
		}
	}
}

func TestSealinstallIsOfflineByConstruction(t *testing.T) {
	deps := goList(t, "-deps", "./cmd/sealinstall")
	if len(deps) < 100 {
		t.Fatalf("go list shows %d dependencies: this test sees nothing", len(deps))
	}
	for _, p := range deps {
		if offline.MatchString(p.ImportPath) {
			t.Errorf("cmd/sealinstall reaches %s", p.ImportPath)
		}
	}
	if !slices.ContainsFunc(goList(t, "-deps", "./cmd/sealbuild"), func(p goPackage) bool { return offline.MatchString(p.ImportPath) }) {
		t.Error("cmd/sealbuild reaches none of what sealinstall must not: this test sees nothing")
	}
}

// maxLines is where a Go file probably holds two concepts.
const maxLines = 400

// longFiles are the exceptions to maxLines, each with its reason.
var longFiles = map[string]string{}

// sources lists the files a checkout holds with one of the suffixes, and those
// about to be added.
func sources(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

func TestGoFilesHoldOneConcept(t *testing.T) {
	for _, f := range sources(t, "*.go") {
		raw, err := os.ReadFile(filepath.Join("..", f))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(raw, []byte("\n"))
		reason, excepted := longFiles[f]
		switch {
		case lines > maxLines && !excepted:
			t.Errorf("%s has %d lines, more than %d: split it by concept", f, lines, maxLines)
		case lines <= maxLines && excepted:
			t.Errorf("%s is excepted (%s) and has only %d lines: take it off the list", f, reason, lines)
		}
	}
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	targets := 0
	for _, f := range sources(t, "*_test.go") {
		raw, err := os.ReadFile(filepath.Join("..", f))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fuzzTarget.FindAllSubmatchIndex(raw, -1) {
			targets++
			name := string(raw[m[2]:m[3]])
			body := raw[m[0]:]
			if end := bytes.Index(body, []byte("\n}\n")); end > 0 {
				body = body[:end]
			}
			// Seeds are files of the corpus, or what the target adds itself.
			corpus, err := filepath.Glob(filepath.Join("..", path.Dir(f), "testdata", "fuzz", name, "*"))
			if err != nil {
				t.Fatal(err)
			}
			if len(corpus) == 0 && !bytes.Contains(body, []byte(".Add(")) {
				t.Errorf("%s: %s has no seed: neither testdata/fuzz/%s nor a call of Add", f, name, name)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target found: this test sees nothing")
	}
}
