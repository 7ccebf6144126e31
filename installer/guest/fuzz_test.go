package guest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/guest"
)

// FuzzExpand: text without a reference to a known key, and without $$, comes
// out as it went in; nothing grows beyond its bound; escaping a text makes it
// immune.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "$(", "${", "$(KEY)", "${KEY}", "$KEY", "$$(KEY)", `\$KEY`, "$(a $(KEY))", "${KEY:-x}", "$(KEY"} {
		f.Add(s, "value")
		f.Add(s, "$(KEY)$$")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		got, err := guest.Expand(s, map[string]string{"KEY": value})
		if err != nil {
			if !errors.Is(err, guest.ErrZero) && !errors.Is(err, guest.ErrTooLong) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		if len(got) > guest.MaxLine {
			t.Fatalf("%d bytes", len(got))
		}
		if !strings.Contains(s, "KEY") && !strings.Contains(s, "$$") && got != s {
			t.Fatalf("%q became %q", s, got)
		}
		if strings.Contains(s, `\`) {
			return
		}
		back, err := guest.Expand(strings.ReplaceAll(s, "$", "$$"), map[string]string{"KEY": value})
		if err == nil && back != s {
			t.Fatalf("escaped %q came out as %q", s, back)
		}
	})
}
