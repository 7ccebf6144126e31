package scan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVariablesDoNotGrowWithoutEnd(t *testing.T) {
	sh := &shell{scanner: &scanner{}, vars: ofImage(map[string]string{"X": "0123456789"}), most: new(int)}
	if err := sh.interpret(strings.Repeat("X=$X$X; A+=($X); Y+=$X\n", 40), true); err != nil {
		t.Fatal(err)
	}
	if x, y, a := len(sh.vars["X"].Str), len(sh.vars["Y"].Str), len(sh.vars["A"].List); x > maxValue || y > maxValue || a > maxWords {
		t.Errorf("the values have %d and %d bytes, the list %d words", x, y, a)
	}
}

func TestMergedListsDoNotMultiply(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 {x: 1}\n")
	for i := 1; i < 7; i++ {
		list := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 100), ", ")
		fmt.Fprintf(&b, "a%d: &a%d {<<: [%s]}\n", i, i, list)
	}
	node, err := parseYAML(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := text(get(get(node, "a1"), "x")); got != "1" {
		t.Errorf("x is %q", got)
	}
	if v := get(get(node, "a5"), "missing"); v != nil {
		t.Errorf("missing is %v", v)
	}
}

func TestWhatIsTooLargeIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"large.yaml": "a: b\n" + strings.Repeat("# filler\n", maxManifest/9+1),
		"many.yaml":  "a:\n" + strings.Repeat("- []\n", maxNodes+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, "manifests", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Dir(context.Background(), dir, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Errors) != 2 {
		t.Errorf("errors are %v, want one of each file", r.Errors)
	}
}
