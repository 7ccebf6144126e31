package installer

import (
	"io"
	"strings"
	"testing"
)

func TestChecksThatFoundNothingAreNamedToWhoWantsToSeeThem(t *testing.T) {
	for verbose, want := range map[bool]int{false: 0, true: 1} {
		var told strings.Builder
		r := NewReporter(&told, io.Discard, verbose)
		r.Checked([]string{"10.0.0.2", "10.0.0.3"}, []string{"clock", "cpu", "disk"}, func(check string) bool { return check == "clock" })
		if n := strings.Count(told.String(), "2 of 3 checks have found nothing on 10.0.0.2-10.0.0.3: cpu, disk"); n != want {
			t.Errorf("verbose %v: %q", verbose, told.String())
		}
	}
}
