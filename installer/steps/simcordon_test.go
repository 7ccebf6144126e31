package steps

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// cordoned are the machines whose Nodes are cordoned.
func (w *world) cordoned() (out []string) {
	for _, m := range w.Machines() {
		if w.Unschedulable(m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

func TestANodeThatAnOperatorHadCordonedStaysSo(t *testing.T) {
	blocked := stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 2}
	run := func(t *testing.T, w *world) error {
		_, err := w.run(t.Context(), Install())
		return err
	}
	for name, c := range map[string]struct {
		app stepstest.App
		do  func(t *testing.T, w *world) error
		err string
	}{
		"a drain for a delete is given up": {blocked, func(t *testing.T, w *world) error {
			_, err := w.command(t, Delete(), deletes(1, 2), false)
			return err
		}, "allows no disruption"},
		"a delete is cut off, and its host is put back": {stepstest.App{}, func(t *testing.T, w *world) error {
			for range 2 { // the second one finds what the first has noted
				w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "kubectl drain host-3: done", N: 1}})
				if _, err := w.command(t, Delete(), deletes(1, 2), false); err == nil {
					t.Error("it was not cut off")
				}
			}
			if diff := cmp.Diff([]string{"host-2", "host-3"}, w.cordoned()); diff != "" {
				t.Error(diff)
			}
			w.Arm(nil)
			_, err := w.command(t, Install(), adds(), false)
			return err
		}, ""},
		"settings are rolled out": {stepstest.App{}, func(t *testing.T, w *world) error {
			w.asks(applies, kubeletMaxPods)
			return run(t, w)
		}, ""},
		"a drain for settings is given up": {blocked, func(t *testing.T, w *world) error {
			w.asks(applies, kubeletMaxPods)
			return run(t, w)
		}, "allows no disruption"},
		"a host does not live with its settings": {stepstest.App{}, func(t *testing.T, w *world) error {
			w.asks(applies, kubeletBroken)
			return run(t, w)
		}, "was given those of before"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := filled(t, 1, 3)
				if c.app.Name != "" {
					w.Deploy(c.app)
					for len(w.Pods("shop", c.app.Name)) < c.app.Replicas {
						time.Sleep(w.Pace.Pod)
					}
				}
				w.mustKubectl(t, "cordon", "host-2")
				if err := c.do(t, w); c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"host-2"}, w.cordoned()); diff != "" {
					t.Errorf("cordoned: %s", diff)
				}
				if out := w.mustKubectl(t, "get", "nodes", "-o", "json"); strings.Contains(out, "sealbuild.io/leaving") {
					t.Error("a Node still says that a run of the installer has cordoned it")
				}
			})
		})
	}
}
