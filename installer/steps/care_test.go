package steps

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/hostnet"
)

// count tells how often a machine did something, by the name of it in the trace.
func (w *world) count(ip, what string) int {
	n := 0
	for _, e := range w.Trace() {
		if e.Host == ip && e.Kind == "step" && strings.Contains(e.What, what) {
			n++
		}
	}
	return n
}

func TestMoreMastersAreAnotherListAndNothingElse(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	machines := w.Machines()
	as := func(i int, master bool) installer.Host {
		return installer.Host{IP: netip.MustParseAddr(machines[i].IP), Master: master}
	}
	w.named = []installer.Host{as(0, true), as(2, false)}
	w.mustRun(t, Install())
	worker := machines[2].IP
	pod, list, starts := w.read(t, 2, hostnet.CareManifest), w.read(t, 2, care.ListFile), w.count(worker, "systemctl start")
	if list != machines[0].IP+":6443\n" || starts != 1 {
		t.Errorf("with one master the list is %q, after %d starts", list, starts)
	}
	w.named = []installer.Host{as(0, true), as(1, true), as(2, false)}
	w.mustRun(t, Install())
	if diff := cmp.Diff(machines[0].IP+":6443\n"+machines[1].IP+":6443\n", w.read(t, 2, care.ListFile)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(pod, w.read(t, 2, hostnet.CareManifest)); diff != "" {
		t.Errorf("the pod is made anew: %s", diff)
	}
	if got := w.count(worker, "systemctl start"); got != starts {
		t.Errorf("the unit was started %d times more", got-starts)
	}
	if bad := w.Unsound(2); len(bad) > 0 {
		t.Error(bad)
	}
	if changes := w.mustRun(t, Install()); changes != 0 {
		t.Errorf("a second run makes %d changes", changes)
	}
}

func TestTheKeeperOfAnEarlierVersionIsReplacedOnce(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.mustRun(t, Install())
	worker := w.Machines()[1]
	const before = "spec: {containers: [{command: [sealinstall, care, --vs, '10.103.97.2:6443', --rs, '10.0.0.1:6443']}]}\n"
	if err := worker.Write(hostnet.CareManifest, before); err != nil {
		t.Fatal(err)
	}
	worker.Runs("sealos-care.service", "sealinstall care 0123456789") // the transient unit of a run that was cut off
	w.mustRun(t, Install())
	if pod := w.read(t, 1, hostnet.CareManifest); strings.Contains(pod, "--rs") || !strings.Contains(pod, "--watch") {
		t.Errorf("the pod is %s", pod)
	}
	if bad := w.Unsound(1); len(bad) > 0 {
		t.Error(bad)
	}
	if n := w.count(worker.IP, "systemctl start"); n != 2 {
		t.Errorf("the unit was started %d times, want once more", n)
	}
	if changes := w.mustRun(t, Install()); changes != 0 {
		t.Errorf("a second run makes %d changes", changes)
	}
}

// TestAWorkerWhoseCareDoesNotConfirmStopsTheStep has a worker from which no master can be reached.
func TestAWorkerWhoseCareDoesNotConfirmStopsTheStep(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.mustRun(t, Install())
	r := w.openRun(t)
	changes, err := r.net.SyncCare(t.Context(), r.Workers())
	if changes != 0 || err != nil {
		t.Errorf("the list of now: %d changes, %v", changes, err)
	}
	w.Machines()[0].PowerOff()
	_, err = r.net.SyncCare(t.Context(), r.Workers())
	for _, want := range []string{w.Machines()[1].IP, "have care keep 10.103.97.2:6443", "the virtual address does not answer"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("told %v, want %q", err, want)
		}
	}
}

func TestAWorkerThatComesBackFromAPowerCutServesBeforeKubelet(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.mustRun(t, Install())
	w.Machines()[1].PowerOff()
	w.Repair() // and nothing of Kubernetes answers yet
	if bad := w.Unsound(1); strings.Contains(strings.Join(bad, "\n"), "virtual address") {
		t.Errorf("when it has its power back: %q", bad)
	}
}

// openRun is a run against the cluster of a world that has looked at all hosts.
func (w *world) openRun(t *testing.T) *Run {
	t.Helper()
	r := w.newRun(t)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bad := r.Open(t.Context()); len(bad) > 0 {
		t.Fatal(bad)
	}
	return r
}

func TestAnAPIServerIsWithheldOnEveryWorkerUntilItIsReleased(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 2)
	w.mustRun(t, Install())
	r := w.openRun(t)
	m := w.Machines()
	plain := m[0].IP + ":6443\n" + m[1].IP + ":6443\n"
	lists := func(want string) {
		t.Helper()
		for i := 2; i < 4; i++ {
			if diff := cmp.Diff(want, w.read(t, i, care.ListFile)); diff != "" {
				t.Errorf("%s: %s", m[i].IP, diff)
			}
		}
	}
	for range 2 { // again changes nothing
		if err := r.net.Withhold(t.Context(), r.Targets[1]); err != nil {
			t.Fatal(err)
		}
		lists(plain + "# withheld " + m[1].IP + ":6443\n")
	}
	for range 2 {
		if err := r.net.Release(t.Context(), r.Targets[1], time.Minute); err != nil {
			t.Fatal(err)
		}
		lists(plain)
	}
	starts := w.count(m[2].IP, "systemctl start")
	if starts != 1 {
		t.Errorf("care was started %d times", starts)
	}
	// A run that is cut off in between leaves nothing to the next one.
	if err := r.net.Withhold(t.Context(), r.Targets[0]); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if bad := strings.Join(w.Unsound(2), "\n"); !strings.Contains(bad, "does not keep the virtual address with exactly the masters") {
		t.Errorf("a master that is withheld is not told: %s", bad)
	}
	w.mustRun(t, Install())
	lists(plain)
	if bad := w.Unsound(2); len(bad) > 0 {
		t.Error(bad)
	}
}

func TestAnAPIServerThatDoesNotServeIsNotReleased(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
	w.mustRun(t, Install())
	r := w.openRun(t)
	if err := r.net.Withhold(t.Context(), r.Targets[1]); err != nil {
		t.Fatal(err)
	}
	w.Machines()[1].PowerOff()
	err := r.net.Release(t.Context(), r.Targets[1], time.Second)
	for _, want := range []string{w.Machines()[3].IP, "have care send connections to the API server of " + w.Machines()[1].IP + " again", "still so after 1s", "are ready"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("told %v, want %q", err, want)
		}
	}
}

func TestTheOnlyAPIServerIsNotWithheld(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.mustRun(t, Install())
	r := w.openRun(t)
	if err := r.net.Withhold(t.Context(), r.Targets[0]); err != nil {
		t.Error(err)
	}
	if bad := w.Unsound(1); len(bad) > 0 {
		t.Error(bad)
	}
}

func TestAWorkerThatCannotWithholdIsNamed(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	w.mustRun(t, Install())
	r := w.openRun(t)
	w.Machines()[0].PowerOff()
	err := r.net.Withhold(t.Context(), r.Targets[1])
	for _, want := range []string{w.Machines()[2].IP, "no new connections to [" + w.Machines()[1].IP + ":6443]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("told %v, want %q", err, want)
		}
	}
}
