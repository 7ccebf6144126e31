package installer

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStepsEndAtTheFirstFailureAndNameIt(t *testing.T) {
	var ran []string
	boom := errors.New("boom")
	step := func(name string, changes int, err error) Step[*int] {
		return Step[*int]{Name: name, Run: func(*int, context.Context) (Result, error) {
			ran = append(ran, name)
			return Result{Changes: changes}, err
		}}
	}
	var out, log strings.Builder
	timings, err := RunSteps(t.Context(), []Step[*int]{step("a", 2, nil), step("b", 1, boom), step("c", 1, nil)}, new(int), NewReporter(&out, &log, false))
	var se *StepError
	if !errors.As(err, &se) || se.Step != "b" || !errors.Is(err, boom) {
		t.Errorf("error: %v", err)
	}
	if d := cmp.Diff([]string{"a", "b"}, ran); d != "" {
		t.Error(d)
	}
	if n := Changes(timings); n != 3 || len(timings) != 2 {
		t.Errorf("%d changes in %d timings", n, len(timings))
	}
	if !strings.Contains(out.String(), "b                    FAILED") {
		t.Errorf("output:\n%s", out.String())
	}
}

func TestNoStepBeginsAfterAnInterruption(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrInterrupted)
	_, err := RunSteps(ctx, []Step[int]{{Name: "a", Run: func(int, context.Context) (Result, error) { t.Error("ran"); return Result{}, nil }}}, 0, NewReporter(&strings.Builder{}, &strings.Builder{}, false))
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("error: %v", err)
	}
}

func TestSecretsReachNeitherOutputNorLog(t *testing.T) {
	var out, log strings.Builder
	r := NewReporter(&out, &log, true)
	r.Hide("swordfish")
	r.Hide("swordfish-longer")
	r.Infof("password swordfish-longer here")
	w := r.Output("10.0.0.1", "bootstrap", "init.sh")
	for _, part := range []string{"says sword", "fish and\nswordfish", "-longer without an end"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"output": out.String(), "log": log.String()} {
		if strings.Contains(text, "swordfish") || !strings.Contains(text, "******") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

func TestASecondInstallerIsRefusedAndToldWhoTheFirstIs(t *testing.T) {
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	first, err := OpenState("c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState("c"); err == nil || !strings.Contains(err.Error(), "process ") {
		t.Errorf("second: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenState("c")
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsAreMadeOnceAndKeptPrivate(t *testing.T) {
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	s, err := OpenState("c")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := s.Secret(t.Context(), "registry-password")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Secret(t.Context(), "registry-password")
	if err != nil {
		t.Fatal(err)
	}
	if a != b || len(a) < 32 {
		t.Errorf("secrets %q and %q", a, b)
	}
	info, err := os.Stat(s.Path("registry-password"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// leaver is an environment that leaves something behind where a step fails.
type leaver struct{ cleaned int }

func (l *leaver) CleanUp(context.Context) error {
	l.cleaned++
	return errors.New("a host keeps the installer")
}

func TestWhatAFailedStepLeavesIsCleanedUp(t *testing.T) {
	step := func(err error) []Step[*leaver] {
		return []Step[*leaver]{{Name: "one", Run: func(*leaver, context.Context) (Result, error) { return Result{}, err }}}
	}
	rep := NewReporter(io.Discard, io.Discard, false)
	well, ill, late := &leaver{}, &leaver{}, &leaver{}
	if _, err := RunSteps(t.Context(), step(nil), well, rep); err != nil || well.cleaned != 0 {
		t.Errorf("after a step that succeeded: %v, cleaned up %d times", err, well.cleaned)
	}
	failed := errors.New("no")
	_, err := RunSteps(t.Context(), step(failed), ill, rep)
	var in *StepError
	if !errors.As(err, &in) || in.Step != "one" || !errors.Is(err, failed) || !strings.Contains(err.Error(), "a host keeps the installer") || ill.cleaned != 1 {
		t.Errorf("after one that failed: %v, cleaned up %d times", err, ill.cleaned)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunSteps(ctx, step(nil), late, rep); err == nil || late.cleaned != 1 {
		t.Errorf("interrupted between two steps: %v, cleaned up %d times", err, late.cleaned)
	}
}
