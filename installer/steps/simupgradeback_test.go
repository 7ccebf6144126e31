package steps

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// TestARollbackSurvivesEveryFault takes an upgrade back that was cut off at its second master, and disturbs that.
func TestARollbackSurvivesEveryFault(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		begin := upgradeSite(t, 3, 2)
		begin.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: begin.Machines()[1].IP, Kind: "step", What: "script installs: kubelet", N: 1}})
		if _, err := begin.run(t.Context(), Upgrade()); err == nil {
			t.Fatal("it was not cut off")
		}
		stepstest.Forget(begin.Site)
		k := &killTest{begin: begin, pipeline: Rollback(), then: Rollback(), again: true, bubble: true, apart: keptByUpgrade}
		k.sound = func(w *world) []string {
			return slices.Concat(stepstest.NotAt(w.Site, oldKube, oldContainerd), w.Unsound(3))
		}
		k.repaired = func(w *world, _ *stepstest.Fault) {
			if err := w.Up(t.Context()); err != nil {
				t.Error(err)
			}
			w.served(t, 2)
		}
		done := begin.clone(t, memoryDir(t))
		done.Arm(nil)
		if _, err := done.run(t.Context(), k.pipeline); err != nil {
			t.Fatal(err)
		}
		k.made = done.trees(t)
		if bad := k.sound(done); len(bad) > 0 {
			t.Fatalf("undisturbed:\n%s", strings.Join(bad, "\n"))
		}
		events := done.Trace()
		var list []*stepstest.Fault
		for i, e := range events {
			stop := e.Kind == "step" && e.What == "systemctl stop" && e.N == 1
			switch change := e.Kind == "step" || e.Kind == "after" || e.Kind == "put"; {
			case !change:
			case everyFault() || stop && i%2 == 0:
				list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e})
			}
		}
		source := rand.New(rand.NewPCG(2026, 15))
		n := 1
		if everyFault() {
			n = 50
		}
		for range n {
			list = append(list, &stepstest.Fault{Kind: stepstest.PowerCut, At: events[source.IntN(len(events))], On: begin.Machines()[source.IntN(5)].IP})
		}
		t.Logf("%d events, %d faults", len(events), len(list))
		k.all(t, list)
	})
}

// TestAnUpgradeStopsAtAMasterThatDiesAndGoesOnWhenItIsBack loses a master that has not followed yet.
func TestAnUpgradeStopsAtAMasterThatDiesAndGoesOnWhenItIsBack(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		w := upgradeSite(t, 3, 2)
		second, third := w.Machines()[1], w.Machines()[2]
		w.Arm(&stepstest.Fault{Kind: stepstest.PowerCut, On: third.IP, At: stepstest.Event{Host: second.IP, Kind: "step", What: "script installs: kubelet", N: 1}})
		if _, err := w.run(t.Context(), Upgrade()); err == nil || !strings.Contains(err.Error(), third.IP) {
			t.Fatalf("it goes on without a master, or does not name it: %v", err)
		}
		w.Arm(nil)
		w.noticed(t)
		before := w.trees(t)
		if changes, err := w.run(t.Context(), Upgrade()); err == nil || changes != 0 || !strings.Contains(err.Error(), third.IP) || !strings.Contains(err.Error(), "delete --dead") {
			t.Errorf("without it: %d changes, %v", changes, err)
		}
		for i, tree := range w.trees(t) {
			if diff := differences(before[i], tree); len(diff) > 0 {
				t.Errorf("host %d was changed without the dead master: %v", i+1, diff)
			}
		}
		third.PowerOn()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		if bad := upgraded(w, 3); len(bad) > 0 {
			t.Error(strings.Join(bad, "\n"))
		}
	})
}
