package steps

import (
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestWhatAStepThatFailsHalfWayHasChangedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
		w.Arm(&stepstest.Fault{Kind: stepstest.LinkCut, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "script begins: init-registry.sh", N: 1}})
		r, err := w.recordedRun(t, "half-way", Install())
		if err == nil {
			t.Fatal("it was not cut off")
		}
		addsUp(t, r)
	})
}
