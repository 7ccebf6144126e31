package host

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"testing/quick"
)

// loginShells are those of this machine that a login may have.
func loginShells(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"sh", "dash", "bash", "ksh", "zsh", "tcsh", "bsd-csh", "fish"} {
		if _, err := exec.LookPath(name); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// throughShell has a login shell run a command that prints its arguments.
func throughShell(t *testing.T, shell string, args ...string) {
	t.Helper()
	m := newMark()
	argv := append([]string{"/bin/sh", "-c", `printf '%s\0' "$@"`, "sh"}, args...)
	cmd := exec.Command(shell, "-c", commandLine(Cmd{}, argv, m))
	var out bytes.Buffer
	b := newBeginning(&out, m.out())
	cmd.Stdout = b
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %q: %v", shell, args, err)
	}
	if want := strings.Join(args, "\x00") + "\x00"; out.String() != want {
		t.Errorf("%s: %q came as %q", shell, want, out.String())
	}
}

func TestLineForTheLoginShellHoldsNothingThatShellsReadDifferently(t *testing.T) {
	line := loginLine("it's !\n\\ \x00ü '\\'' $x `y`")
	if body := line[strings.LastIndex(line, " '")+2:]; strings.ContainsAny(body[:len(body)-1], "'!\n\x00ü") {
		t.Errorf("%q", line)
	}
}

func TestArbitraryArgumentsComeThroughEveryLoginShell(t *testing.T) {
	for _, shell := range loginShells(t) {
		throughShell(t, shell, "it's", `\0101\`, "!!\n", "ü\xff\x01", "", `"$(id)" %s ^a^b`)
		property := func(args [][]byte) bool {
			words := []string{"x"}
			for _, a := range args {
				words = append(words, strings.ReplaceAll(string(a), "\x00", ""))
			}
			throughShell(t, shell, words...)
			return !t.Failed()
		}
		if err := quick.Check(property, &quick.Config{MaxCount: 5}); err != nil {
			t.Errorf("%s: %v", shell, err)
		}
	}
}
