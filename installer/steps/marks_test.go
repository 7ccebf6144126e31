package steps

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestMarkGoesBeforeItsWorkAndComesWhenItHasEnded(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	r := w.newRun(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if problems := r.Open(t.Context()); len(problems) > 0 {
		t.Fatal(problems)
	}
	target := r.Master0()
	onHost := func() string {
		found, err := target.Agent.ReadFiles(t.Context(), []string{target.Journal.Path(journal.Init)})
		if err != nil {
			t.Fatal(err)
		}
		return string(found[target.Journal.Path(journal.Init)])
	}
	failed := errors.New("failed")
	for _, step := range []struct {
		what, in  string
		meanwhile string // the mark on the host during the work; "-" where no work is to be done
		err       error
		part      string // that the work records before it ends
		after     string
	}{
		{what: "the first time", in: "a", after: "a\n"},
		{what: "once more", in: "a", meanwhile: "-", after: "a\n"},
		{what: "other inputs that fail", in: "b", err: failed},
		{what: "the first ones again", in: "a", after: "a\n"},
		{what: "other inputs that fail half way", in: "c", err: failed, part: "c/1", after: "c/1\n"},
		{what: "the same, which go on", in: "c", meanwhile: "c/1\n", after: "c\n"},
		{what: "and half way again", in: "d", err: failed, part: "d/1", after: "d/1\n"},
		{what: "others begin anew", in: "a", after: "a\n"},
	} {
		did, err := target.Journal.Under(t.Context(), journal.Init, step.in, func(*journal.Work) error {
			if got := onHost(); got != step.meanwhile {
				t.Errorf("%s: while it is done the host says %q, want %q", step.what, got, step.meanwhile)
			}
			if step.part != "" {
				if err := target.Journal.Set(t.Context(), journal.Init, step.part); err != nil {
					t.Fatal(err)
				}
			}
			return step.err
		})
		if !errors.Is(err, step.err) || did != (step.meanwhile != "-") {
			t.Errorf("%s: done %v, %v", step.what, did, err)
		}
		if got := onHost(); got != step.after {
			t.Errorf("%s: afterwards the host says %q, want %q", step.what, got, step.after)
		}
	}
}

// TestKubeconfigOfRootIsMadeAgainAfterARenewalThatWasCutOff kills the agent once the new admin.conf is there.
func TestKubeconfigOfRootIsMadeAgainAfterARenewalThatWasCutOff(t *testing.T) {
	w, _ := treeAfter(t, Install(), simBundle(t))
	m := w.Machines()[0]
	mark := func() bool {
		_, err := os.Stat(filepath.Join(m.Root(), "/var/lib/sealos/data/default/journal", journal.Kubeconfig))
		return err == nil
	}
	w.Arm(&stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{Host: m.IP, Kind: "after", What: installer.AdminConf, N: 1}})
	renew := Certificates(true, []string{"admin.conf"}, func([]HostCertificates) {})
	if _, err := w.run(t.Context(), renew); err == nil {
		t.Fatal("nobody was killed: this test sees nothing")
	}
	w.Arm(nil)
	if mark() {
		t.Error("the kubeconfig of before is taken for what belongs to the new certificate")
	}
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if !mark() {
		t.Error("the kubeconfig was not looked at again")
	}
}

// TestMastersForgetAnApplicationBeforeItIsAppliedWithOtherInputs lets the commands of an application fail with other
// inputs than before: no master may take those of before for what holds.
func TestMastersForgetAnApplicationBeforeItIsAppliedWithOtherInputs(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.env = map[string]string{"GREETING": "hello"}
	fault := &stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "script begins: echo hello", N: 1}}
	w.Arm(fault)
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("nothing failed: this test sees nothing")
	}
	w.Arm(nil)
	for i, m := range w.Machines()[:3] {
		found, err := filepath.Glob(filepath.Join(m.Root(), "/var/lib/sealos/data/default/journal", journal.Guest("")+"localhost-app*"))
		if err != nil || len(found) > 0 {
			t.Errorf("master %d: %v, %v", i+1, found, err)
		}
	}
	w.env = nil
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if n := w.Machines()[0].Done()["echo hi"]; n != 2 {
		t.Errorf("the original command ran %d times, want 2: the other one may have run in between", n)
	}
}
