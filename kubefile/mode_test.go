package kubefile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSymbolicModesAreThoseOfChmod(t *testing.T) {
	for _, tc := range []struct {
		mode string
		bits uint32
		dir  bool
		want uint32
	}{
		{"u=rwX,go=rX", 0o600, false, 0o644},
		{"u=rwX,go=rX", 0o700, false, 0o755},
		{"u=rwX,go=rX", 0o700, true, 0o755},
		{"a+x", 0o644, false, 0o755},
		{"+x", 0o600, false, 0o711},
		{"go-rwx", 0o755, false, 0o700},
		{"g=u", 0o640, false, 0o660},
		{"o=g-w", 0o664, false, 0o664},
		{"=r", 0o777, false, 0o444},
		{"u+s,+t", 0o755, false, 0o5755},
		{"ug=rx", 0o6777, false, 0o557},
		{"u=", 0o755, false, 0o055},
	} {
		m, err := parseMode(tc.mode)
		if err != nil {
			t.Fatalf("%s: %v", tc.mode, err)
		}
		if got := m.Of(tc.bits, tc.dir); got != tc.want {
			t.Errorf("%s of %04o, directory %v: got %04o, want %04o", tc.mode, tc.bits, tc.dir, got, tc.want)
		}
	}
}

func TestASymbolicModeIsTakenFromAContextOfItsOwn(t *testing.T) {
	f := parse(t, "FROM scratch\nARG M=a+x\nCOPY --chmod=u=rwX,go=rX a b* /\n add --chown=1:1 --chmod=$M c /\nCOPY --chmod=u+x <<end /d\nx\nend\nCOPY --chmod=755 e /\n")
	want := map[int]string{
		3: "COPY --from=mode-0-0 --chown=0:0 a b* /", 4: " COPY --chown=1:1 --from=mode-0-1 c /", 5: "COPY --chmod=0744 <<end /d",
	}
	if diff := cmp.Diff(want, f.Rewritten()); diff != "" {
		t.Errorf("lines for the builder (-want +got):\n%s", diff)
	}
	var got []string
	for _, c := range f.Chmods() {
		for _, s := range c.Sources {
			got = append(got, fmt.Sprintf("%s %s %o", c.Context, s.Path, c.Mode.Of(0o600, false)))
		}
	}
	if diff := cmp.Diff([]string{"mode-0-0 a 644", "mode-0-0 b* 644", "mode-0-1 c 711"}, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b*", "c", "e"}, f.Reads().Paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestAModeThatCannotBeHadIsRefusedAtItsPlace(t *testing.T) {
	for text, says := range map[string]string{
		"FROM scratch\nCOPY --link --chmod=u=rwZ a /\n":                    `Kubefile:2:13: "u=rwZ" is no mode: expected an octal mode`,
		"FROM scratch AS a\nFROM scratch\nCOPY --from=a --chmod=a+x a /\n": "Kubefile:3:15: the mode a+x of files of another stage",
		"FROM scratch\nADD --chmod=a+x https://example.com/x /\n":          "Kubefile:2:5: the mode a+x of what comes from elsewhere",
		"FROM scratch\nCOPY --chmod=999 a /\n":                             `Kubefile:2:6: "999" is no mode`,
		"FROM scratch\nCOPY --chmod=a+x f <<end /\nx\nend\n":               "Kubefile:2:6: here-documents and files cannot",
	} {
		_, err := Parse(strings.NewReader(text), "Kubefile")
		if located := new(Error); !errors.As(err, &located) || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("error is %v\nwant %s", err, says)
		}
	}
}
