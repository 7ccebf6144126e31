package kubefile

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// disturb adds what must not matter: comments, blank lines, trailing blanks,
// indentation of an instruction's first line, and the case of its name.
func disturb(rnd *rand.Rand, text string) string {
	var out []string
	inside := false // in a continuation
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		trimmed := strings.TrimSpace(line)
		if !inside || rnd.IntN(2) == 0 {
			for range rnd.IntN(3) {
				out = append(out, []string{"", "# COPY a b", "   # \\", "\t#", "  "}[rnd.IntN(5)])
			}
		}
		if !inside && trimmed != "" && trimmed[0] != '#' {
			name, rest, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
			if rnd.IntN(2) == 0 {
				name = strings.ToLower(name)
			}
			line = strings.Repeat(" ", rnd.IntN(4)) + name + strings.Repeat(" ", 1+rnd.IntN(2)) + rest
		}
		if trimmed != "" && trimmed[0] != '#' {
			inside = strings.HasSuffix(trimmed, `\`)
		}
		line += strings.Repeat(" ", rnd.IntN(3))
		if rnd.IntN(3) == 0 {
			line += "\r"
		}
		out = append(out, line)
	}
	return "# first\n" + strings.Join(out, "\n") + strings.Repeat("\n", rnd.IntN(3))
}

func TestCommentsAndBlanksChangeNoInstruction(t *testing.T) {
	paths, err := filepath.Glob("testdata/kubefiles/*")
	if err != nil || len(paths) < 5 {
		t.Fatalf("testdata/kubefiles: %d files, %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := bareInstructions(parse(t, string(text)))
		for seed := range uint64(200) {
			changed := disturb(rand.New(rand.NewPCG(seed, 1)), string(text))
			f, err := Parse(strings.NewReader(changed), path)
			if err != nil {
				t.Fatalf("%s, seed %d: %v\n%s", path, seed, err, changed)
			}
			if diff := cmp.Diff(want, bareInstructions(f), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Instruction{})); diff != "" {
				t.Fatalf("%s, seed %d: %s\n%s", path, seed, diff, changed)
			}
		}
	}
}
