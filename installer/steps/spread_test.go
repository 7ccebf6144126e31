package steps

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// grown installs one master and one node, starts an application there, and adds two nodes. It returns what was told.
func grown(t *testing.T, d ...stepstest.Deployment) (w *world, apps map[string]*stepstest.Deployment, told string) {
	t.Helper()
	w = newWorld(t, memoryDir(t), simBundle(t), 1, 3)
	w.take = 2
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	apps = map[string]*stepstest.Deployment{}
	for _, one := range d {
		apps[one.Name] = stepstest.Start(w.Site, one)
	}
	var out strings.Builder
	w.take, w.told = 0, &out
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if bad := w.Violations(); len(bad) > 0 {
		t.Error(bad)
	}
	return w, apps, out.String()
}

func TestCopiesDoNotAllLieOnOneHostAfterHostsWereAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, apps, told := grown(t,
			stepstest.Deployment{Namespace: "kube-system", Name: "coredns", Copies: 2, On: "host-1", Masters: true, Selector: []string{"kubernetes.io/os", "linux"}, Volume: "configMap"},
			stepstest.Deployment{Namespace: "shop", Name: "front", Copies: 3, On: "host-2", Least: 2},
			stepstest.Deployment{Namespace: "shop", Name: "one", Copies: 1, On: "host-2"},
		)
		for name, want := range map[string]int{"coredns": 2, "front": 3} {
			nodes, _ := apps[name].Where()
			if got := len(slices.Compact(nodes)); got != want {
				t.Errorf("%s lies on %d nodes, want %d: %v\n%s", name, got, want, nodes, told)
			}
		}
		if _, made := apps["one"].Where(); made != 1 {
			t.Errorf("what has one copy was moved:\n%s", told)
		}
		for _, want := range []string{"moved kube-system/coredns-5d9c-2 from host-1 to host-", "moved shop/front-5d9c-2 from host-2 to host-", "moved shop/front-5d9c-3 from host-2 to host-"} {
			if !strings.Contains(told, want) {
				t.Errorf("not told: %q in\n%s", want, told)
			}
		}
		// Nothing is asked or moved where no host joins.
		w.Arm(nil)
		changes, err := w.run(t.Context(), Install())
		if err != nil || changes != 0 {
			t.Errorf("second run: %d changes, %v", changes, err)
		}
		if _, made := apps["front"].Where(); made != 5 {
			t.Errorf("%d pods were ever made, want 5", made)
		}
	})
}

func TestCopiesThatCannotOrShouldNotMoveAreLeftAndTold(t *testing.T) {
	for name, c := range map[string]struct {
		app   stepstest.Deployment
		moved int // pods
		want  string
	}{
		"a budget that lets none go": {stepstest.Deployment{Least: 2, On: "host-2"}, 0, "shop/app: all 2 copies stay on host-2: a PodDisruptionBudget does not let one go"},
		"data on the node":           {stepstest.Deployment{Volume: "hostPath", On: "host-2"}, 0, "shop/app: all 2 copies stay on host-2: they have volumes there that do not move with them (hostPath)"},
		"the same node again":        {stepstest.Deployment{Sticky: true, On: "host-2"}, 1, "shop/app: all 2 copies stay on host-2: the scheduler chooses that node again"},
		"not ready elsewhere":        {stepstest.Deployment{Dead: true, On: "host-2"}, 1, "shop/app: all 2 copies stay on host-2: the pod in place of the one that was moved is not ready on host-"},
		"nodes of another label":     {stepstest.Deployment{Selector: []string{"disk", "fast"}, On: "host-2"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.app.Namespace, c.app.Name, c.app.Copies = "shop", "app", 2
				_, apps, told := grown(t, c.app, stepstest.Deployment{Namespace: "zoo", Name: "next", Copies: 2, On: "host-2"})
				if _, made := apps["app"].Where(); made != 2+c.moved {
					t.Errorf("%d pods were moved, want %d:\n%s", made-2, c.moved, told)
				}
				if c.want != "" && !strings.Contains(told, c.want) {
					t.Errorf("not told: %q in\n%s", c.want, told)
				}
				// A pod that does not come up ends it: others may not come up either.
				wantNext := 3
				if c.app.Dead {
					wantNext = 2
				}
				if _, made := apps["next"].Where(); made != wantNext {
					t.Errorf("of the next workload %d pods were made, want %d:\n%s", made, wantNext, told)
				}
			})
		})
	}
}

func TestOnlyMastersTakeNothingThatDoesNotTolerateThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
		w.Arm(nil)
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		stepstest.Start(w.Site, stepstest.Deployment{Namespace: "shop", Name: "app", Copies: 2, On: "host-2"})
		r := lookedAt(t, w, t.Output())
		found, err := r.Kube.Spread(t.Context(), time.Minute)
		if diff := cmp.Diff(kube.Spreading{}, found); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
