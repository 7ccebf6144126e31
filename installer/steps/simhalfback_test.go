package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// TestAHostWhoseWayBackFailsHalfWayRunsItsKubeletAndGoesBackLater has something in the way of a file that is to be given back.
func TestAHostWhoseWayBackFailsHalfWayRunsItsKubeletAndGoesBackLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := upgradeSite(t, 3, 2)
		m := w.Machines()[1]
		w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: m.IP, Kind: "step", What: "systemctl restart", N: 1}})
		if _, err := w.run(t.Context(), Upgrade()); err == nil {
			t.Fatal("it was not cut off")
		}
		w.Arm(nil)
		const inTheWay = "/etc/kubernetes/super-admin.conf"
		if err := m.Write(inTheWay+"/of the site", "x"); err != nil {
			t.Fatal(err)
		}
		_, err := w.run(t.Context(), Rollback())
		for _, want := range []string{m.IP, inTheWay, "Its kubelet runs, new pods are kept away from it, and new API connections, too", "run the same command again: it goes on here"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it is told %v, want %q", err, want)
			}
		}
		w.noticed(t)
		if nodes := w.mustKubectl(t, "get", "nodes", "-o", "json"); strings.Contains(nodes, `"Unknown"`) {
			t.Errorf("its kubelet stays stopped: %s", nodes)
		}
		if err := os.RemoveAll(filepath.Join(m.Root(), inTheWay)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.run(t.Context(), Rollback()); err != nil {
			t.Fatal(err)
		}
		for _, bad := range append(stepstest.NotAt(w.Site, oldKube, oldContainerd), w.Unsound(3)...) {
			t.Error(bad)
		}
		w.mustServe(t)
	})
}
