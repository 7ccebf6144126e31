package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Of one thing a message says that it is one: count.Of writes numbers of things. A bound that is told ("more than %d files") is
// larger than one, and of bytes there are many.
func TestMessagesCountThingsByOneHelper(t *testing.T) {
	counted := regexp.MustCompile(`(more than |all )?%d ([a-z]+s)\b`)
	noThings := map[string]bool{
		"states": true, "frames": true, "sums": true, // of an index that is wrong in itself
		"bytes": true, "has": true, "is": true, "its": true, "was": true, "says": true, "comes": true, "times": true, "inodes": true, "rootfs": true,
	}
	looked := 0
	for _, f := range sources(t, "*.go") {
		product := regexp.MustCompile(`^(cmd|installer|bundle|registry|kubefile|ground|hack)/`).MatchString(f)
		if !product || strings.HasSuffix(f, "_test.go") || regexp.MustCompile(`(steps|kube|store)test/`).MatchString(f) {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", f))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		looked++
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range counted.FindAllStringSubmatch(line, -1) {
				if m[1] == "" && !noThings[m[2]] {
					t.Errorf("%s:%d: of one it says %q: take count.Of", f, i+1, strings.Replace(m[0], "%d", "1", 1))
				}
			}
		}
	}
	if looked < 500 {
		t.Errorf("%d files were looked at", looked)
	}
}
