package host

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"
)

func TestQuotedArgumentsComeBackFromAShell(t *testing.T) {
	for _, argv := range [][]string{
		{""},
		{"a", "", "b"},
		{"it's"},
		{"'"},
		{"''"},
		{`\`},
		{"a\nb"},
		{"$HOME `id` $(id) !x"},
		{"~", "~root", "a=b"},
		{"-n", "--"},
		{"*", "?", "[a]", "{a,b}"},
		{"\xff\xfe", "ü", "\t "},
		{"#x", "a;b", "a&b", "a|b", "<", ">"},
		{"%", "^", "!!"},
	} {
		roundTrip(t, argv)
	}
}

func TestArbitraryArgumentsComeBackFromAShell(t *testing.T) {
	property := func(argv [][]byte) bool {
		args := []string{"x"}
		for _, a := range argv {
			args = append(args, strings.ReplaceAll(string(a), "\x00", ""))
		}
		return roundTrip(t, args)
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 60}); err != nil {
		t.Error(err)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("it's", "a\\b")
	f.Add("", "$x\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		roundTrip(t, []string{strings.ReplaceAll(a, "\x00", ""), strings.ReplaceAll(b, "\x00", "")})
	})
}

// roundTrip has bash, and sh, split the quoted line and print what they got.
func roundTrip(t *testing.T, argv []string) bool {
	t.Helper()
	want := strings.Join(argv, "\x00") + "\x00"
	for _, shell := range []string{"bash", "sh"} {
		cmd := exec.Command(shell)
		cmd.Stdin = strings.NewReader("printf '%s\\0' " + Quote(argv...) + "\n")
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %q: %v", shell, argv, err)
			return false
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s: %q: %s", shell, argv, diff)
			return false
		}
	}
	return true
}
