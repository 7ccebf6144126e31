package reference

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/documents"
)

// write tells `make docs`: pages are written, not compared.
const write = "SEALBUILD_DOCS"

// Hold compares a page of docs/reference with what it is to be, and writes it where that was asked for.
func Hold(t *testing.T, name, text string) {
	t.Helper()
	root, err := documents.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, filepath.FromSlash(documents.Generated), name)
	if os.Getenv(write) == "write" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; `make docs` writes it", err)
	}
	if diff := cmp.Diff(string(have), text); diff != "" {
		t.Errorf("docs/reference/%s is not what the program says; `make docs` writes it anew (-page +program):\n%s", name, diff)
	}
}
