package scenario

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiguresHaveTheirSpread(t *testing.T) {
	var got []string
	for _, values := range [][]float64{nil, {80.5}, {3, 1.5, 2}, {100, 1, 3, 2}} {
		got = append(got, spread{"bare/by-hand", "s", values}.String())
	}
	if diff := cmp.Diff([]string{
		"| bare/by-hand | | | | s |",
		"| bare/by-hand | 80.5 | 80.5 | 80.5 | s |",
		"| bare/by-hand | 2 | 1.5 | 3 | s |",
		"| bare/by-hand | 2.5 | 1 | 100 | s |",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
