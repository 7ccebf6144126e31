package steps

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// TestAHostThatWasTakenForDeadAndStaysGetsPodsAgain cuts a delete off when the cluster has given up the pods and volumes of a
// host; then that has its power again.
func TestAHostThatWasTakenForDeadAndStaysGetsPodsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 1, 2)
		m := w.Machines()[2]
		m.PowerOff()
		w.noticed(t)
		w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "kubectl delete node host-3", N: 1}})
		if _, err := w.command(t, Delete(), deletes(2), true); err == nil {
			t.Fatal("it was not cut off")
		}
		w.Arm(nil)
		m.PowerOn()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mustKubectl(t, "taint", "node", "host-2", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute") // by somebody else
		if _, err := w.command(t, Install(), adds(), false); err != nil {
			t.Fatal(err)
		}
		if nodes := w.mustKubectl(t, "get", "nodes", "-o", "json"); strings.Count(nodes, "node.kubernetes.io/out-of-service") != 1 || !strings.Contains(nodes, "nodeshutdown") {
			t.Errorf("what was done to the host stays, or what somebody else did does not: %s", nodes)
		}
		w.mustKubectl(t, "taint", "node", "host-2", "node.kubernetes.io/out-of-service-")
		w.mustKubectl(t, "delete", "node", "host-3") // a Node of this name may be made again
		if _, err := w.command(t, Install(), adds(), false); err != nil {
			t.Fatal(err)
		}
		w.mustBeSound(t)
		if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
			t.Errorf("a further run: %d changes, %v", changes, err)
		}
	})
}
