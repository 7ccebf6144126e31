package steps

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestASettingThatChangedIsCheckedLikeAFirstOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
		sshd := func(f *agent.Facts) {
			f.PortsInUse = []int{22, 5000, 6443}
			f.Listeners = []agent.Listener{{Port: 22, Process: "sshd", Unit: "ssh.service"}, {Port: 5000, Process: "sealinstall", Unit: "registry.service"}, {Port: 6443, Process: "kube-apiserver", Unit: "kubepods"}}
		}
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		full := func(f *agent.Facts) {
			sshd(f)
			f.Disks["/mnt/small"] = agent.Mount{Path: "/mnt", Total: 1 << 10, Free: 1 << 10}
		}
		made := w.trees(t)
		for name, c := range map[string]struct {
			env  map[string]string
			is   func(*agent.Facts)
			says string
		}{
			"a port that another has":   {map[string]string{"registryPort": "22"}, sshd, "port 22 is taken by sshd (ssh.service)"},
			"a value that is none":      {map[string]string{"swapMode": "nonsense"}, sshd, `swapMode is "nonsense"; it must be off or keep`},
			"images without room":       {map[string]string{"criData": "/mnt/small"}, full, "/mnt has 1.0 KiB free"},
			"a registry without room":   {map[string]string{"registryData": "/mnt/small"}, full, "/mnt has 1.0 KiB free"},
			"programs without any room": {map[string]string{"BIN_DIR": "/mnt/small"}, full, "/mnt has 1.0 KiB free"},
		} {
			w.env = c.env
			for _, m := range w.Machines() {
				m.Is = c.is
			}
			_, err := w.run(t.Context(), Install())
			var refused *preflight.Error
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v; want %q", name, err, c.says)
			}
			for i, tree := range w.trees(t) {
				if diff := differences(made[i], tree); len(diff) > 0 {
					t.Errorf("%s: host %d was changed:\n%s", name, i, strings.Join(diff, "\n"))
				}
			}
		}
		// The settings of before still work.
		w.env = nil
		w.Arm(nil)
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("without the settings: %d changes, %v", changes, err)
		}
		checks := func() (n int) {
			for _, e := range w.Trace() {
				if e.Kind == "step" && e.What == "script ends: check.sh" {
					n++
				}
			}
			return n
		}
		if n := checks(); n != 0 {
			t.Errorf("the check script ran %d times although nothing was changed", n)
		}
		w.env = map[string]string{"swapMode": "keep"}
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		if n := checks(); n != 2 {
			t.Errorf("the check script ran %d times for a changed setting of two hosts", n)
		}
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("the changed setting again: %d changes, %v", changes, err)
		}
	})
}

func TestACheckScriptThatWasCutOffIsNotTakenForPassed(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.env = map[string]string{"swapMode": "nonsense"}
	for range 2 {
		w.Arm(&stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "script begins: check.sh", N: 1}})
		if _, err := w.run(t.Context(), Install()); err == nil {
			t.Error("passed")
		}
		w.Repair()
	}
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "it must be off or keep") {
		t.Errorf("%v", err)
	}
	w.env = nil
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("%d changes, %v", changes, err)
	}
}
