package steps

import (
	"os"
	"testing"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestAClusterIsUpgradedAndASecondRunChangesNothing(t *testing.T) {
	w := newWorld(t, memoryDir(t), bundleOf(t, stepstest.Kubernetes("v1.35.0", "2.1.4")), 3, 2)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.upgrade, w.bundle = true, bundleOf(t, stepstest.Kubernetes("v1.36.3", "2.2.0"))
	if testing.Verbose() {
		w.told = os.Stdout
	}
	w.Arm(nil)
	changes, err := w.run(t.Context(), Upgrade())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(changes, "changes")
	if v := w.Violations(); len(v) > 0 {
		t.Error(v)
	}
	w.Arm(nil)
	changes, err = w.run(t.Context(), Upgrade())
	if err != nil || changes != 0 {
		t.Errorf("%d changes, %v", changes, err)
	}
}
