package steps

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/compat"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// judged is what stands in the way of version to, for a site that has a cluster.
func (w *world) judged(t *testing.T, to string) []preflight.Problem {
	t.Helper()
	r := w.looker(t, t.Context(), io.Discard)
	defer func() { _ = r.Close() }() // the lock is for who comes next
	var found []preflight.Problem
	_, err := installer.RunSteps(t.Context(), []installer.Step[*Run]{{Name: "check", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		if err := r.Load(ctx); err != nil {
			return installer.Result{}, err
		}
		sizes, err := r.Payload.Measure(ctx)
		if err != nil {
			return installer.Result{}, err
		}
		r.Open(ctx) // hosts that do not answer are found by what follows, too
		found, err = compat.Compat{Site: r.Site, Sizes: sizes}.Look(ctx, r.Payload.Rootfs().KubeVersion(), to)
		return installer.Result{}, err
	}}}, r, r.Report)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func told(problems []preflight.Problem) string {
	var out strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&out, "%s %s %t: %s | %s\n", p.Host, p.Check, p.Warning, p.Message, p.Remedy)
	}
	return out.String()
}

func mustFind(t *testing.T, problems []preflight.Problem, want ...string) {
	t.Helper()
	text := told(problems)
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not found in\n%s", line, text)
		}
	}
}

func TestNothingStandsInTheWayOfAHealthyClusterAndLookingChangesNothing(t *testing.T) {
	w := installed(t, 3, 2)
	w.judged(t, "v1.36.3") // its lock leaves an empty file
	before := w.trees(t)
	found := w.judged(t, "v1.36.3")
	// The control plane of this double may have no images.
	found = slices.DeleteFunc(found, func(p preflight.Problem) bool { return p.Warning && strings.Contains(p.Message, "tells no version") })
	if len(found) > 0 {
		t.Errorf("found:\n%s", told(found))
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("looking changed host %d: %s", i, strings.Join(diff, ", "))
		}
	}
}

func TestADeadMasterIsNamedWithTheCommandThatTakesItOut(t *testing.T) {
	w := installed(t, 3, 2)
	w.Machines()[1].PowerOff()
	w.Machines()[4].PowerOff()
	w.noticed(t)
	mustFind(t, w.judged(t, "v1.36.3"), "10.77.0.2 connect false: the master does not answer", "sealinstall delete --dead --masters 10.77.0.2", "sealinstall delete --dead --nodes 10.77.0.5")
}

func TestAFullDiskIsFoundBeforeTheNewVersionIsPutBesideTheOldOne(t *testing.T) {
	w := installed(t, 1, 1)
	for _, m := range w.Machines() {
		m.Is = func(f *agent.Facts) {
			for path, d := range f.Disks {
				d.Free = 64 << 20
				f.Disks[path] = d
			}
		}
	}
	mustFind(t, w.judged(t, "v1.36.3"), "10.77.0.1 disk false: ", "10.77.0.2 disk false: ")
}

func TestPodsThatADrainMeetsAreFoundBefore(t *testing.T) {
	realistic(t, 1, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 2, EmptyDir: true})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "alone", Kind: "Pod"})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "kept", Kind: "Deployment", Replicas: 1, Kept: true})
		time.Sleep(time.Minute)
		mustFind(t, w.judged(t, "v1.36.3"), "PodDisruptionBudget shop/web allows no disruption: 2 of its 2 pods are healthy", "nothing makes pod shop/alone anew elsewhere",
			"loses what is in its emptyDir scratch", "has the finalizers site/kept")
	})
}
