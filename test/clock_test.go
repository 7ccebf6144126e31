package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mayReadTheClock are files whose tests measure time outside a bubble of
// testing/synctest, each with its reason.
var mayReadTheClock = map[string]string{
	"bundle/assemble/pull/broken_test.go": "at least so long: a slow machine only makes it longer",
	"installer/steps/simscale_test.go":    "for the benchmark, which judges nothing",
}

// How long something takes is as much the machine's doing as ours: a busy one
// fails what nobody broke. Figures belong to benchmarks and make bench; a test
// counts bytes, calls and requests, or lets time pass in testing/synctest.
func TestTestsDoNotJudgeByTheClock(t *testing.T) {
	used := map[string]bool{}
	for _, f := range sources(t, "*_test.go") {
		raw, err := os.ReadFile(filepath.Join("..", f))
		if os.IsNotExist(err) || f == "test/clock_test.go" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if strings.Contains(text, `"testing/synctest"`) {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if !strings.Contains(line, "time.Since(") || strings.Contains(line, "Logf(") {
				continue
			}
			if mayReadTheClock[f] == "" {
				t.Errorf("%s:%d: %s\ncount what happens instead, or measure inside synctest.Test", f, i+1, strings.TrimSpace(line))
			}
			used[f] = true
		}
	}
	for f, reason := range mayReadTheClock {
		if !used[f] {
			t.Errorf("%s is excepted (%s) and reads no clock: take it off the list", f, reason)
		}
	}
}
