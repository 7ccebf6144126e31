package steps

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// everywhere deploys pods that run on every host which is not cordoned and may leave none.
func (w *world) everywhere() {
	w.Deploy(stepstest.App{Kind: "Deployment", Namespace: "shop", Name: "till", Replicas: 5, MinAvailable: 5, Masters: true, Apart: true})
	for len(w.Pods("shop", "till")) < 5-len(w.cordoned()) {
		time.Sleep(w.Pace.Pod)
	}
}

// mustServe tells what is withheld from the virtual address, and which nodes are cordoned.
func (w *world) mustServe(t *testing.T) {
	t.Helper()
	for i := w.masters; i < len(w.Machines()); i++ {
		if list := w.read(t, i, care.ListFile); strings.Contains(list, "withheld") {
			t.Errorf("by the list of %s:\n%s", w.Machines()[i].IP, list)
		}
	}
	if diff := cmp.Diff([]string(nil), w.cordoned()); diff != "" {
		t.Errorf("cordoned: %s", diff)
	}
}

func TestAHostWhoseTurnIsGivenUpServesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := upgradeSite(t, 3, 2)
		begin.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: begin.Machines()[1].IP, Kind: "step", What: "script installs: kubelet", N: 1}})
		if _, err := begin.run(t.Context(), Upgrade()); err == nil {
			t.Fatal("it was not cut off")
		}
		begin.Arm(nil)
		begin.everywhere()
		for name, pipeline := range map[string][]Step{"back": Rollback(), "forward": Upgrade()} { // the second master, where it was cut off
			w := begin.clone(t, memoryDir(t))
			w.ignore = []string{"drain"}
			if _, err := w.run(t.Context(), pipeline); err == nil || !strings.Contains(err.Error(), "PodDisruptionBudget shop/till allows no disruption") {
				t.Fatalf("%s: %v", name, err)
			}
			w.mustServe(t)
		}
	})
}

func TestWhatEtcdHeldBeforeAnUpgradeStaysHoweverOftenThatIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := upgradeSite(t, 3, 2)
		snapshots := func() (out []string) {
			for _, m := range w.Machines()[:3] {
				found, err := filepath.Glob(filepath.Join(m.Root(), "/var/lib/sealos/data/default/snapshots/*"))
				if err != nil || len(found) == 0 {
					t.Errorf("%s has none: %v", m.IP, err)
				}
				for _, name := range found {
					out = append(out, m.Name+" "+filepath.Base(name))
				}
			}
			return out
		}
		stepstest.Break(w.Machines()[1], "kubelet", newKube, "it is spoilt")
		var before []string
		for range 3 {
			if _, err := w.run(t.Context(), Upgrade()); err == nil {
				t.Fatal("it succeeds")
			}
			if before == nil {
				before = snapshots()
			}
			if diff := cmp.Diff(before, snapshots()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestHostsThatHaveNotBegunAreNamedAlsoInALaterUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 3, 1)
		w.upgrade, w.bundle = true, newer
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		w.bundle = bundleOf(t, stepstest.Kubernetes("v1.36.3", "2.3.0"))
		second := w.Machines()[1].IP
		w.Arm(&stepstest.Fault{Kind: stepstest.PowerCut, At: stepstest.Event{Host: second, Kind: "step", What: "systemctl restart", N: 1}})
		if _, err := w.run(t.Context(), Upgrade()); err == nil || !strings.Contains(err.Error(), "Not begun: "+w.Machines()[2].IP) {
			t.Errorf("it is told %v", err)
		}
	})
}

func TestNodesThatWaitForTheirTurnGetPodsAgainWhereItDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 3)
		w.upgrade, w.bundle, w.parallel, w.jobs = true, newer, "3", 1
		last := w.Machines()[3]
		w.Arm(&stepstest.Fault{Kind: stepstest.DiskFull, On: last.IP, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "kubectl cordon host-4", N: 1}})
		if _, err := w.run(t.Context(), Upgrade()); err == nil || !strings.Contains(err.Error(), last.IP) || !strings.Contains(err.Error(), "no space left") {
			t.Fatal(err)
		}
		w.mustServe(t)
		w.Repair()
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		w.mustServe(t)
	})
}
