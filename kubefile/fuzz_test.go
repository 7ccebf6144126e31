package kubefile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: whatever comes in, Parse answers with a value whose lines lie in
// the text and which parses the same again, or with a positioned *Error.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/kubefiles/*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse(bytes.NewReader(text), "Kubefile")
		lines := 1 + bytes.Count(text, []byte{'\n'})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Line > lines || e.Column < 1 || e.Err == nil {
				t.Fatalf("%T: %+v", err, err)
			}
			_ = e.Error()
			return
		}
		for _, in := range file.Instructions {
			if in.Line < 1 || in.EndLine < in.Line || in.EndLine > lines {
				t.Fatalf("%s at %d..%d of %d lines", in.Name, in.Line, in.EndLine, lines)
			}
		}
		if len(file.Stages) == 0 || file.Stages[len(file.Stages)-1].Last != len(file.Instructions) {
			t.Fatalf("stages: %+v", file.Stages)
		}
	})
}
