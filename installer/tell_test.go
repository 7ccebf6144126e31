package installer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// at is an error of a lower layer that names its host itself.
type at struct{ host, text string }

func (e *at) Error() string { return e.ErrorAt("") }
func (e *at) ErrorAt(host string) string {
	if e.host == host {
		return e.text
	}
	return e.host + ": " + e.text
}

func TestAHostIsNamedOnceInAMessage(t *testing.T) {
	deep := &at{"10.0.0.2", "kubectl get nodes: exit status 1"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{deep, "10.0.0.2: kubectl get nodes: exit status 1"},
		{&HostError{"10.0.0.2", deep}, "10.0.0.2: kubectl get nodes: exit status 1"},
		{&HostError{"10.0.0.2", fmt.Errorf("restart kube-proxy: %w", fmt.Errorf("still so after 1m0s: %w", deep))}, "10.0.0.2: restart kube-proxy: still so after 1m0s: kubectl get nodes: exit status 1"},
		{&HostError{"10.0.0.2", &HostError{"10.0.0.2", deep}}, "10.0.0.2: kubectl get nodes: exit status 1"},
		{&HostError{"10.0.0.3", fmt.Errorf("ask: %w", deep)}, "10.0.0.3: ask: 10.0.0.2: kubectl get nodes: exit status 1"},
		{&StepError{"bootstrap", errors.Join(&HostError{"10.0.0.2", deep}, &HostError{"10.0.0.3", errors.New("no")})}, "step bootstrap: 10.0.0.2: kubectl get nodes: exit status 1\n10.0.0.3: no"},
	} {
		if got := Tell(c.err); got != c.want {
			t.Errorf("told:\n%s\nwant:\n%s", got, c.want)
		}
	}
	if got := TellAt(fmt.Errorf("x: %w", deep), "10.0.0.2"); got != "x: kubectl get nodes: exit status 1" {
		t.Errorf("told of a host that is known: %s", got)
	}
}

func TestWhatSeveralHostsSayAlikeIsToldOnce(t *testing.T) {
	err := errors.Join(
		&HostError{"10.0.0.2", &at{"10.0.0.2", "refused"}}, &HostError{"10.0.0.3", &at{"10.0.0.3", "refused"}},
		errors.Join(&HostError{"10.0.0.4", errors.New("refused")}), &HostError{"10.0.0.5", errors.New("other")},
	)
	if got, want := Tell(err), "10.0.0.2, 10.0.0.3, 10.0.0.4: refused\n10.0.0.5: other"; got != want {
		t.Errorf("told:\n%s", got)
	}
}

func TestAnInterruptionIsToldOnce(t *testing.T) {
	err := &StepError{"verify", errors.Join(ErrInterrupted, &HostError{"10.0.0.2", fmt.Errorf("exec: %w", ErrInterrupted)})}
	if got := Tell(err); strings.Count(got, ErrInterrupted.Error()) != 1 {
		t.Errorf("told:\n%s", got)
	}
	if got := Tell(&StepError{"verify", errors.Join(ErrInterrupted, errors.New("signal: killed"))}); !strings.Contains(got, ErrInterrupted.Error()) {
		t.Errorf("told:\n%s", got)
	}
}

func TestNoMessageEndsInNothing(t *testing.T) {
	for _, err := range []error{errors.New("failed: exit status 1: "), fmt.Errorf("failed: exit status 1:\n%s", ""), fmt.Errorf("failed: exit status 1: %w", errors.New(""))} {
		if got := Tell(err); got != "failed: exit status 1" {
			t.Errorf("told %q", got)
		}
	}
}

func TestTextOfOthersMovesNoCursor(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext\nand more":                          "plain\ttext\nand more",
		"\x1b[1;31merror\x1b[0m: no":                     "error: no",
		"\x1b]0;title\x07left\x1b]8;;http://x\x1b\\link": "leftlink",
		"10%\r50%\r100%\ndone\r\n":                       "100%\ndone\n",
		"bell\x07 back\x08space\x7f":                     "bell backspace",
		"\u009b31mc1 °C, ü, 日本":                          "31mc1 °C, ü, 日本",
		"\x1b(Bset \x1b7saved\x1b[":                      "set saved",
		"cut \x1b":                                       "cut ",
		"one line\n10%\r20%":                             "one line\n20%",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("\x1b[1;31merror\x1b[0m: no\r\n")
	f.Add("\x1b]0;x\x07\u009b")
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		for _, c := range []byte(got) {
			if c < ' ' && c != '\n' && c != '\t' || c == del {
				t.Fatalf("%q is shown as %q", text, got)
			}
		}
		if again := Plain(got); again != got {
			t.Errorf("%q is shown as %q, that as %q", text, got, again)
		}
	})
}

func TestMastersTolerateWhatTheirMajorityAllows(t *testing.T) {
	for masters, want := range map[int]string{2: "2 masters are worse than 1", 4: "4 masters: an even number tolerates no more failures than 1, as 3 would", 6: "6 masters: an even number tolerates no more failures than 2, as 5 would", 1: "", 3: "", 5: ""} {
		c := &Cluster{Hosts: make([]Host, masters)}
		for i := range c.Hosts {
			c.Hosts[i].Master = true
		}
		warnings := c.Warnings()
		if (want == "") != (len(warnings) == 0) || want != "" && !strings.HasPrefix(warnings[0], want) {
			t.Errorf("%d masters: %q", masters, warnings)
		}
	}
}

func TestColoursOfACommandReachNeitherOutputNorLog(t *testing.T) {
	var out, log strings.Builder
	r := NewReporter(&out, &log, true)
	w := r.Output("10.0.0.1", "bootstrap", "init.sh")
	if _, err := w.Write([]byte("\x1b[32mready\x1b[0m\nand \x1b[1m")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.Warnf("it says \x1b[31mno\x1b[0m")
	for name, text := range map[string]string{"output": out.String(), "log": log.String()} {
		if strings.Contains(text, "\x1b") || strings.Contains(text, `\u001b`) || !strings.Contains(text, "it says no") || !strings.Contains(text, "ready") {
			t.Errorf("%s:\n%q", name, text)
		}
	}
}
