package kubefile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		text         string
		line, column int
		says         string
	}{
		"unknown instruction":      {"FROM scratch\n\n  COPPY . .\n", 3, 3, `unknown instruction "COPPY": expected one of ADD, ARG`},
		"suggestion":               {"FROM scratch\nCOPPY . .\n", 2, 1, "(did you mean COPY?)"},
		"COPY of one path":         {"FROM scratch\nCOPY a\n", 2, 1, "expected COPY SOURCE… DESTINATION"},
		"ENV without a value":      {"FROM scratch\nENV A\n", 2, 1, "expected ENV KEY=VALUE"},
		"ENV mixed":                {"FROM scratch\nENV A=1 \\\n  B\n", 3, 3, "can't find ="},
		"empty CMD argument list":  {"FROM scratch\nLABEL\n", 2, 1, "expected LABEL KEY=VALUE"},
		"array cut short":          {"FROM scratch\nCMD [\"a\", \"b\"\n", 2, 14, "malformed array"},
		"array in single quotes":   {"FROM scratch\nCMD ['a', 'b']\n", 2, 6, "malformed array"},
		"array of words":           {"FROM scratch\nENTRYPOINT [bash, -c]\n", 2, 13, "malformed array"},
		"array with a last comma":  {"FROM scratch\nCMD [\"a\",]\n", 2, 10, "malformed array"},
		"array of numbers":         {"FROM scratch\nCMD [\"a\", 1]\n", 2, 5, "array of strings"},
		"array over two lines":     {"FROM scratch\nCMD [\"a\", \\\n \"b\"\n", 2, 5, "malformed array"},
		"no FROM":                  {"ARG A=1\n", 1, 1, "no FROM in the file"},
		"something before FROM":    {"ENV A=1\nFROM scratch\n", 1, 1, "ENV before FROM"},
		"empty file":               {"", 1, 1, "no instruction"},
		"only comments":            {"# hello\n\n", 1, 1, "no instruction"},
		"FROM of nothing":          {"ARG A\nFROM $A\n", 2, 1, "expands to nothing"},
		"FROM with too much":       {"FROM a b\n", 1, 1, "expected FROM IMAGE [AS NAME]"},
		"unknown flag":             {"FROM scratch\nCOPY --form=a b c\n", 2, 6, "unknown flag"},
		"unknown flag of RUN":      {"FROM scratch\nRUN --mont=a b c\n", 2, 5, "--mount"},
		"heredoc without end":      {"FROM scratch\nCOPY <<EOF /a\nx\n", 2, 6, "unterminated heredoc"},
		"bad variable":             {"FROM scratch\nENV A=${B\n", 2, 1, "expected variables"},
		"required variable":        {"FROM scratch\nENV A=\"${B:?give B}\"\n", 2, 1, "give B"},
		"ONBUILD of nonsense":      {"FROM scratch\nONBUILD FOO a\n", 2, 9, `unknown instruction "FOO"`},
		"bad escape directive":     {"# escape=x\nFROM scratch\n", 1, 3, "escape"},
		"zero byte":                {"FROM scratch\nCOPY a\x00 b\n", 2, 1, "zero byte"},
		"a tab before the mistake": {"FROM scratch\n\tFOO\n", 2, 2, "unknown instruction"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tc.text), "Kubefile")
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("err = %v, want *Error", err)
			}
			if e.Line != tc.line || e.Column != tc.column || !strings.Contains(e.Error(), tc.says) {
				t.Errorf("want %d:%d %q, got:\n%v", tc.line, tc.column, tc.says, e)
			}
			if e.Want == "" && !strings.Contains(tc.says, "zero") {
				t.Errorf("says nothing about what was expected: %v", e)
			}
		})
	}
}

func TestErrorShowsTheLineAndACaret(t *testing.T) {
	_, err := Parse(strings.NewReader("FROM scratch\n\tCOPPY a b\n"), "k/Kubefile")
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{"    \tCOPPY a b", "    \t^"}
	if !strings.HasPrefix(lines[0], `k/Kubefile:2:2: unknown instruction "COPPY": expected one of`) {
		t.Error(lines[0])
	}
	if diff := cmp.Diff(want, lines[1:]); diff != "" {
		t.Error(diff)
	}
}

func TestTooLargeAFileIsRefused(t *testing.T) {
	_, err := Parse(strings.NewReader("FROM scratch\n"+strings.Repeat("# x\n", MaxSize/4)), "Kubefile")
	if err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("err = %v", err)
	}
}
