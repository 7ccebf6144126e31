package test

import (
	"bytes"
	"errors"
	"os"
	"path"
	"path/filepath"
	"testing"
)

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
