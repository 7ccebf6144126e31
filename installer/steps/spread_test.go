package steps

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// grown installs one master and one node, starts applications there, and adds two nodes. It returns what was told.
func grown(t *testing.T, apps ...stepstest.App) (w *world, told string) {
	t.Helper()
	w = newWorld(t, memoryDir(t), simBundle(t), 1, 3)
	w.take = 2
	w.Pace.Pod = 700 * time.Millisecond // a new pod is not ready when it is looked at first
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	deploy(t, w, apps...)
	var out strings.Builder
	w.take, w.told = 0, &out
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if bad := w.Violations(); len(bad) > 0 {
		t.Error(bad)
	}
	return w, out.String()
}

// deploy makes Deployments, and waits until their pods are Ready where they begin.
func deploy(t *testing.T, w *world, apps ...stepstest.App) {
	t.Helper()
	for _, a := range apps {
		a.Kind = "Deployment"
		w.Deploy(a)
	}
	time.Sleep(w.Pace.Pod)
	for _, a := range apps {
		if nodes := slices.Collect(maps.Values(w.Pods(a.Namespace, a.Name))); len(nodes) != a.Replicas || slices.Max(nodes) != a.On || slices.Min(nodes) != a.On {
			t.Fatalf("%s begins on %v, want %d times on %s", a.Name, nodes, a.Replicas, a.On)
		}
	}
}

func TestCopiesDoNotAllLieOnOneHostAfterHostsWereAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := grown(t,
			stepstest.App{Namespace: "kube-system", Name: "coredns", Replicas: 2, On: "host-1", Masters: true, Selector: "kubernetes.io/os=linux", Mounts: "configMap"},
			stepstest.App{Namespace: "shop", Name: "front", Replicas: 3, On: "host-2", MinAvailable: 2},
			stepstest.App{Namespace: "shop", Name: "one", Replicas: 1, On: "host-2"},
		)
		for app, want := range map[[2]string]int{{"kube-system", "coredns"}: 2, {"shop", "front"}: 3} {
			nodes := slices.Sorted(maps.Values(w.Pods(app[0], app[1])))
			if got := len(slices.Compact(slices.Clone(nodes))); got != want {
				t.Errorf("%s lies on %d nodes, want %d: %v\n%s", app[1], got, want, nodes, told)
			}
		}
		if w.Made("shop", "one") != 1 {
			t.Errorf("what has one copy was moved:\n%s", told)
		}
		for _, want := range []string{"moved kube-system/coredns-7d9f-2 from host-1 to host-", "moved shop/front-7d9f-2 from host-2 to host-", "moved shop/front-7d9f-3 from host-2 to host-"} {
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
		if made := w.Made("shop", "front"); made != 5 {
			t.Errorf("%d pods were ever made, want 5", made)
		}
	})
}

func TestCopiesThatCannotOrShouldNotMoveAreLeftAndTold(t *testing.T) {
	for name, c := range map[string]struct {
		app   stepstest.App
		moved int // pods
		want  string
	}{
		"a budget that lets none go": {stepstest.App{MinAvailable: 2}, 0, "shop/app: all 2 copies stay on host-2: a PodDisruptionBudget does not let one go"},
		"data on the node":           {stepstest.App{Mounts: "hostPath"}, 0, "shop/app: all 2 copies stay on host-2: they have volumes there that do not move with them (hostPath)"},
		"the same node again":        {stepstest.App{Sticky: true}, 1, "shop/app: all 2 copies stay on host-2: the scheduler chooses that node again"},
		"not ready elsewhere":        {stepstest.App{Brittle: true}, 1, "shop/app: all 2 copies stay on host-2: the pod in place of the one that was moved is not ready on host-"},
		"nodes of another label":     {stepstest.App{Selector: "disk=fast"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.app.Namespace, c.app.Name, c.app.Replicas, c.app.On = "shop", "app", 2, "host-2"
				w, told := grown(t, c.app, stepstest.App{Namespace: "zoo", Name: "next", Replicas: 2, On: "host-2"})
				if made := w.Made("shop", "app"); made != 2+c.moved {
					t.Errorf("%d pods were moved, want %d:\n%s", made-2, c.moved, told)
				}
				if c.want != "" && !strings.Contains(told, c.want) {
					t.Errorf("not told: %q in\n%s", c.want, told)
				}
				// A pod that does not come up ends it: others may not come up either.
				wantNext := 3
				if c.app.Brittle {
					wantNext = 2
				}
				if made := w.Made("zoo", "next"); made != wantNext {
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
		deploy(t, w, stepstest.App{Namespace: "shop", Name: "app", Replicas: 2, On: "host-2"})
		r := lookedAt(t, w, t.Output())
		found, err := r.Kube.Spread(t.Context(), time.Minute)
		if diff := cmp.Diff(kube.Spreading{}, found); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
