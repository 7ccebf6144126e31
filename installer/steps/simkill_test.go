package steps

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// faults counts the faults that happened, by kind, and what each of them led to.
type faults struct {
	mu     sync.Mutex
	struck map[stepstest.FaultKind]int
	missed int // the event did not come again
	failed []string
}

// killTest is a finished pipeline that is run again and again from the same beginning, each time with a fault.
type killTest struct {
	begin    *world // never run
	pipeline []Step
	made     []map[string]string // what lies on the hosts afterwards
	then     []Step              // the pipeline after the fault; most often the same
	turns    bool                // then takes another way, on which not every file is written again
	again    bool                // whether a further run must change nothing
	sound    func(w *world) []string
	second   []byte               // the bundle after the fault, where it is another
	later    func(w *world) error // a run that brings what was away up to date
	bubble   bool                 // it is in a bubble of time: one fault after the other
	// repaired is called after a fault, once machines have their power back; nil: nothing is done.
	repaired func(w *world, f *stepstest.Fault)
	apart    func(string) bool // files of hosts whose names differ from run to run; nil: none
}

// try lets one fault happen, and checks what the next runs make of it.
func (k *killTest) try(t *testing.T, dir string, f *stepstest.Fault) (fired stepstest.Event, problems []string) {
	w := k.begin.clone(t, dir)
	defer os.RemoveAll(dir)
	w.Arm(f)
	_, err := w.run(t.Context(), k.pipeline)
	fired, ok := w.Fired()
	if !ok && err == nil {
		return fired, nil
	}
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if !ok {
		add("the run failed without a fault: %v", err)
	}
	if f.Kind == stepstest.DiskFull {
		if _, err := w.run(t.Context(), k.pipeline); err == nil && len(k.sound(w)) > 0 {
			add("a run on the full disk claims success: %v", k.sound(w))
		}
	}
	w.Repair()
	// The fault may not have happened yet; from here on none does.
	w.Arm(nil)
	if k.repaired != nil {
		k.repaired(w, f)
	}
	if k.second != nil {
		w.bundle = k.second
	}
	if err != nil || k.again {
		if _, err := w.run(t.Context(), k.then); err != nil {
			add("stuck: %v", err)
			return fired, problems
		}
	}
	if k.later != nil {
		if err := k.later(w); err != nil {
			add("a later run: %v", err)
		}
	}
	if err := w.Up(t.Context()); err != nil {
		add("%v", err)
	}
	problems = append(problems, k.sound(w)...)
	if k.pipeline[0].Name == "check" && k.then[0].Name == "check" && k.again && !unrecorded(f.Kind, fired) {
		problems = append(problems, w.repeated()...)
	}
	for i, tree := range w.trees(t) {
		for _, d := range differences(k.made[i], tree) {
			if k.apart != nil && k.apart(d) {
				continue
			}
			// Nor does anybody remove the lock of an agent that was killed after all was done; it is gone with the next boot.
			if f.Kind == stepstest.AgentDies && strings.HasPrefix(d, "left over /run/") {
				continue
			}
			// A pipeline does not sweep where it does not write any more.
			if !k.turns && k.pipeline[0].Name == k.then[0].Name || !strings.Contains(d, "left over") || !strings.Contains(d, ".sealinstall-") {
				add("host %d: %s", i+1, d)
			}
		}
	}
	if k.again {
		if changes, err := w.run(t.Context(), k.then); err != nil || changes != 0 {
			add("a further run: %d changes, %v", changes, err)
		}
	}
	return fired, problems
}

// unrecorded tells whether a fault took the agent, its host or the last room on its disk between the end of a program and
// the mark for it. Such work is undone and done again: no order of writing can prevent that.
func unrecorded(kind stepstest.FaultKind, e stepstest.Event) bool {
	if !slices.Contains([]stepstest.FaultKind{stepstest.AgentDies, stepstest.PowerCut, stepstest.Reboot, stepstest.DiskFull}, kind) {
		return false
	}
	if e.Kind == "after" {
		// kubeadm's files hold a token, so they are removed before the mark is set.
		return strings.Contains(e.What, "/etc/kubeadm.yaml") || strings.Contains(e.What, "/etc/discovery.conf")
	}
	for _, name := range []string{"/etc/kubeadm.yaml", "/etc/discovery.conf", "/journal/kubeadm-done", "/journal/guest-"} {
		if strings.Contains(e.What, name) {
			return true
		}
	}
	return false
}

// all tries faults, as many at once as there are processors.
func (k *killTest) all(t *testing.T, list []*stepstest.Fault) {
	t.Helper()
	if detector.On {
		// All of them run without it (make unit); with it they take ten times as long, and go through the same code.
		few := list[:0:0]
		for i := 0; i < len(list); i += 17 {
			few = append(few, list[i])
		}
		list = few
	}
	dir := memoryDir(t)
	result := faults{struck: map[stepstest.FaultKind]int{}}
	var next atomic.Int64
	var wg sync.WaitGroup
	at := 2 * runtime.GOMAXPROCS(0)
	if k.bubble {
		at = 1
	}
	for range at {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) || t.Context().Err() != nil {
					return
				}
				f := list[i]
				fired, problems := k.try(t, filepath.Join(dir, strconv.Itoa(i)), f)
				result.mu.Lock()
				if fired == (stepstest.Event{}) {
					result.missed++
				} else {
					result.struck[f.Kind]++
				}
				if len(problems) > 0 {
					result.failed = append(result.failed, fmt.Sprintf("%s at %s:\n    %s", strings.TrimSpace(string(f.Kind)+" "+f.On), fired, strings.Join(problems, "\n    ")))
				}
				result.mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("faults %v, %d never came", result.struck, result.missed)
	if len(result.failed) > 0 {
		show := result.failed[:min(len(result.failed), 12)]
		t.Errorf("%d of %d faults were not survived:\n  %s", len(result.failed), len(list), strings.Join(show, "\n  "))
	}
}

func installKills(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	k := &killTest{begin: newWorld(t, memoryDir(t), simBundle(t), 3, 2), pipeline: Install(), then: Install(), again: true}
	w := k.begin.clone(t, memoryDir(t))
	w.Arm(nil)
	if _, err := w.run(t.Context(), k.pipeline); err != nil {
		t.Fatal(err)
	}
	k.made = w.trees(t)
	k.sound = func(w *world) []string { return w.Unsound(3) }
	return k, w.Trace()
}

func resetKills(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	k := &killTest{begin: newWorld(t, memoryDir(t), simBundle(t), 3, 2), pipeline: Reset(), then: Reset()}
	k.made = k.begin.trees(t)
	if _, err := k.begin.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w := k.begin.clone(t, memoryDir(t))
	w.Arm(nil)
	if _, err := w.run(t.Context(), k.pipeline); err != nil {
		t.Fatal(err)
	}
	k.sound = func(w *world) []string { return w.Gone() }
	return k, w.Trace()
}

// changedMind is an installation after a reset that was cut off.
func changedMind(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	k, events := resetKills(t)
	k.made, k.then, k.again = k.begin.trees(t), Install(), true
	k.sound = func(w *world) []string { return w.Unsound(3) }
	return k, events
}

// The tests below try a sample of the faults. SIM_FAULTS=all tries the death of the installer at every event, and a thousand
// faults of all kinds at random events; SIM_SEED repeats the random choice of an earlier run.

func TestInstallationSurvivesEveryFault(t *testing.T) {
	k, events := installKills(t)
	var list []*stepstest.Fault
	for _, e := range events {
		if everyFault() || e.Kind == "after" && strings.Contains(e.What, "/journal/") {
			list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e})
		}
	}
	k.all(t, append(list, randomFaults(t, events, 20, 1000)...))
}

func TestResetSurvivesEveryFault(t *testing.T) {
	k, events := resetKills(t)
	list := randomFaults(t, events, 40, 300)
	for _, e := range events {
		if everyFault() {
			list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e})
		}
	}
	k.all(t, list)
}

func TestInstallationFollowsAResetThatWasCutOff(t *testing.T) {
	k, events := changedMind(t)
	k.all(t, randomFaults(t, events, 15, 300))
}

func everyFault() bool { return os.Getenv("SIM_FAULTS") == "all" }

// randomFaults chooses faults: few as a rule, many if all are asked for.
func randomFaults(t *testing.T, events []stepstest.Event, few, many int) []*stepstest.Fault {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64)
	if err != nil {
		seed = 2026 // all faults of this seed were tried: what fails now is new
	}
	t.Logf("SIM_SEED=%d", seed)
	source := rand.New(rand.NewPCG(seed, 0))
	kinds := []stepstest.FaultKind{stepstest.InstallerDies, stepstest.AgentDies, stepstest.LinkCut, stepstest.PowerCut, stepstest.DiskFull}
	n := few
	if everyFault() {
		n = many
	}
	var list []*stepstest.Fault
	for range n {
		f := &stepstest.Fault{Kind: kinds[source.IntN(len(kinds))], At: events[source.IntN(len(events))]}
		if f.Kind == stepstest.DiskFull {
			// At most events nothing is written: take the next one at which something is.
			f.Number, f.At = source.IntN(len(events)), stepstest.Event{}
		}
		list = append(list, f)
	}
	return list
}
