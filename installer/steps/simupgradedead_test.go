package steps

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// TestAHostThatDiesForEverInTheMidstOfAnUpgradeIsDeleted loses a host, at whatever place the upgrade has come to there; then the
// upgrade goes on, or back, without it.
func TestAHostThatDiesForEverInTheMidstOfAnUpgradeIsDeleted(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		begin := upgradeSite(t, 3, 3)
		begin.Watch = false
		for _, c := range []struct {
			name     string
			dead, at int // places: which host dies, and while which one is upgraded
			back     bool
		}{
			{"the last master, before its turn", 2, 1, false},
			{"the last master, before others have followed, and back", 2, 0, true},
			{"the first master, after its turn", 0, 1, false},
			{"a master, in its turn", 1, 1, false},
			{"the last node, after all others", 5, 5, false},
		} {
			w := begin.clone(t, memoryDir(t))
			m := w.Machines()
			w.Arm(&stepstest.Fault{Kind: stepstest.PowerCut, On: m[c.dead].IP, At: stepstest.Event{Host: m[c.at].IP, Kind: "step", What: "script installs: kubelet", N: 1}})
			if _, err := w.run(t.Context(), Upgrade()); err == nil || !strings.Contains(err.Error(), m[c.dead].IP) {
				t.Fatalf("%s: %v", c.name, err)
			}
			w.Arm(nil)
			w.noticed(t)
			before := w.trees(t)
			w.upgrade = false
			if _, err := w.command(t, Delete(), deletes(c.dead), true); err != nil {
				t.Errorf("%s: delete: %v", c.name, err)
				continue
			}
			for i, tree := range w.trees(t) {
				for _, d := range differences(before[i], tree) {
					if strings.Contains(d, "/rootfs") || strings.Contains(d, "/usr/bin/") {
						t.Errorf("%s: delete has changed of host %d: %s", c.name, i+1, d)
					}
				}
			}
			w.upgrade = true
			then, kubeVersion, runtime := Upgrade(), newKube, newContainerd
			if c.back {
				then, kubeVersion, runtime = Rollback(), oldKube, oldContainerd
			}
			if _, err := w.command(t, then, adds(), false); err != nil {
				t.Errorf("%s: what follows: %v", c.name, err)
				continue
			}
			gone := m[c.dead].IP
			for _, b := range slices.Concat(stepstest.NotAt(w.Site, kubeVersion, runtime, gone), w.Unsound(3, gone)) {
				t.Errorf("%s: %s", c.name, b)
			}
			if changes, err := w.command(t, then, adds(), false); err != nil || changes != 0 {
				t.Errorf("%s: again: %d changes, %v", c.name, changes, err)
			}
		}
	})
}
