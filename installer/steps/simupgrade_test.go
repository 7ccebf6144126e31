package steps

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// upgradePace is that of real hosts, by a clock that is not real.
func upgradePace() stepstest.Pace {
	pace := stepstest.RealPace()
	pace.Static, pace.Manifests = 10*time.Second, 5*time.Minute
	return pace
}

// upgradeSite is a site of the older version with workloads, on which the command is to upgrade it. It runs in a bubble of time:
// hosts that wait for each other there may wait for a mutex, during which its clock stands still.
func upgradeSite(t *testing.T, masters, workers int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), bundleOf(t, stepstest.Kubernetes(oldKube, oldContainerd)), masters, workers)
	w.Pace, w.timeout, w.jobs, w.Watch = upgradePace(), 10*time.Minute, 1, masters > 2
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(keptKey, keptValue); err != nil {
		t.Fatal(err)
	}
	w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, Apart: true, MinAvailable: 1})
	w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Volume: true})
	w.served(t, workers)
	w.upgrade, w.bundle = true, bundleOf(t, stepstest.Kubernetes(newKube, newContainerd))
	stepstest.Forget(w.Site)
	return w
}

// served waits until all workloads run.
func (w *world) served(t *testing.T, workers int) {
	t.Helper()
	for end := time.Now().Add(w.timeout); len(w.Pods("shop", "web")) < min(2, workers) || len(w.Pods("shop", "db")) < 1; time.Sleep(w.Pace.Pod) {
		if time.Now().After(end) {
			t.Fatalf("pods run at %v and %v", w.Pods("shop", "web"), w.Pods("shop", "db"))
		}
	}
}

// upgraded lists what of a site is not as it should be after an upgrade.
func upgraded(w *world, masters int) []string {
	bad := append(w.Unsound(masters), stepstest.NotAt(w.Site, newKube, newContainerd)...)
	if got := w.Get(keptKey); got != keptValue {
		bad = append(bad, fmt.Sprintf("etcd has lost its data: %q", got))
	}
	for _, m := range w.Machines() {
		if w.Unschedulable(m.Name) {
			bad = append(bad, m.IP+" is cordoned")
		}
		for _, image := range stepstest.Pinned(m) {
			if !slices.Contains(stepstest.DownloadedBy(newKube), image) {
				bad = append(bad, fmt.Sprintf("%s: %s is pinned still", m.IP, image))
			}
		}
	}
	for end := time.Now().Add(w.timeout); len(w.Pods("shop", "web")) < 2 || len(w.Pods("shop", "db")) < 1; time.Sleep(w.Pace.Pod) {
		if time.Now().After(end) {
			return append(bad, fmt.Sprintf("pods run at %v and %v", w.Pods("shop", "web"), w.Pods("shop", "db")))
		}
	}
	return bad
}

// keptByUpgrade tells whether an upgrade leaves a file of a host, or a name of one, that an installation does not make.
func keptByUpgrade(name string) bool {
	for _, part := range []string{
		"/snapshots/", "/before/", "/rootfs.before", "/rootfs/.layers/note", "/journal/upgrade", "/journal/guest-localhost-kubernetes-" + oldKube,
		"/var/lib/registry/",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func TestAnUpgradeEndsAsAnInstallationOfTheNewerBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := upgradeSite(t, 3, 2)
		w.Arm(nil)
		for _, m := range w.Machines() { // of which an earlier version of the installer knew nothing
			for _, dir := range []string{"", "multi-user.target.wants/"} {
				if err := os.Remove(filepath.Join(m.Root(), "etc/systemd/system", dir, care.HoldUnit)); err != nil {
					t.Fatal(err)
				}
			}
		}
		start := time.Now()
		changes, err := w.run(t.Context(), Upgrade())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d changes, %d events, %s of the simulation", changes, len(w.Trace()), time.Since(start))
		if bad := upgraded(w, 3); len(bad) > 0 {
			t.Error(strings.Join(bad, "\n"))
		}
		if changes, err := w.run(t.Context(), Upgrade()); err != nil || changes != 0 {
			t.Errorf("again: %d changes, %v", changes, err)
		}
		fresh := newWorld(t, memoryDir(t), w.bundle, 3, 2)
		fresh.Pace, fresh.timeout, fresh.jobs = w.Pace, w.timeout, 1
		if _, err := fresh.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		want := fresh.trees(t)
		for i, tree := range w.trees(t) {
			for _, d := range differences(want[i], tree) {
				if !keptByUpgrade(d) {
					t.Errorf("host %d: %s", i+1, d)
				}
			}
		}
	})
}

// upgradeKills is an upgrade, and how it ends where nothing disturbs it.
func upgradeKills(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	w := upgradeSite(t, 3, 2)
	k := &killTest{begin: w, pipeline: Upgrade(), then: Upgrade(), again: true, bubble: true, apart: keptByUpgrade}
	k.sound = func(w *world) []string { return upgraded(w, 3) }
	k.repaired = func(w *world, f *stepstest.Fault) {
		if f.Kind == stepstest.PowerCut || f.Kind == stepstest.Reboot {
			// An upgrade does not begin while workloads lack pods, or members of etcd do not answer.
			if err := w.Up(t.Context()); err != nil {
				t.Error(err)
			}
			w.served(t, 2)
		}
	}
	done := w.clone(t, memoryDir(t))
	done.Arm(nil)
	if _, err := done.run(t.Context(), k.pipeline); err != nil {
		t.Fatal(err)
	}
	k.made = done.trees(t)
	if bad := k.sound(done); len(bad) > 0 {
		t.Fatalf("undisturbed:\n%s", strings.Join(bad, "\n"))
	}
	return k, done.Trace()
}

// TestAnUpgradeSurvivesEveryDeathOfItsPrograms kills the installer, agents with all that they run, and kubeadm alone, at every
// change; of these a sample are some between the two renames of a manifest.
func TestAnUpgradeSurvivesEveryDeathOfItsPrograms(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		k, events := upgradeKills(t)
		second := k.begin.Machines()[1].IP
		var list []*stepstest.Fault
		add := func(kind stepstest.FaultKind, e stepstest.Event) {
			list = append(list, &stepstest.Fault{Kind: kind, At: e})
		}
		for i, e := range events {
			renames := e.Kind == "step" && strings.HasPrefix(e.What, "upgrade ") && strings.HasSuffix(e.What, "the new manifest comes")
			switch change := e.Kind == "step" || e.Kind == "after" || e.Kind == "put"; {
			case !change:
			case everyFault():
				add(stepstest.InstallerDies, e)
				add(stepstest.AgentDies, e)
				if e.Kind == "step" {
					add(stepstest.ProgramDies, e)
				}
			case renames && e.Host == second && strings.Contains(e.What, "etcd"), renames && e.Host == second && strings.Contains(e.What, "apiserver"):
				add(stepstest.AgentDies, e)
			case renames && e.Host == second && strings.Contains(e.What, "scheduler"):
				add(stepstest.ProgramDies, e)
			case i%997 == 500:
				add(stepstest.InstallerDies, e)
			}
		}
		t.Logf("%d events, %d faults", len(events), len(list))
		k.all(t, list)
	})
}

// TestAnUpgradeSurvivesPowerCuts takes the power of any host at random moments.
func TestAnUpgradeSurvivesPowerCuts(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		k, events := upgradeKills(t)
		source := rand.New(rand.NewPCG(2026, 14))
		n := 2
		if everyFault() {
			n = 200
		}
		var list []*stepstest.Fault
		for range n {
			kind := []stepstest.FaultKind{stepstest.PowerCut, stepstest.Reboot}[source.IntN(2)]
			list = append(list, &stepstest.Fault{Kind: kind, At: events[source.IntN(len(events))], On: k.begin.Machines()[source.IntN(5)].IP})
		}
		k.all(t, list)
	})
}

// TestAHostThatDoesNotLiveWithAnUpgradeGoesBack spoils one host in a way each. It goes back to what it ran, and hosts after it are
// not begun; once the cause is mended, the same command finishes.
func TestAHostThatDoesNotLiveWithAnUpgradeGoesBack(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		begin := upgradeSite(t, 3, 2)
		for _, c := range []struct {
			name           string
			place          int // of the host
			program, which string
			untouched      bool // no host is begun
			always         bool // also where only a sample of faults is tried
		}{
			{name: "a kubelet that ends, on a master", place: 1, program: "kubelet", which: newKube},
			{name: "a kubelet that ends, on a worker", place: 3, program: "kubelet", which: newKube, always: true},
			{name: "an API server that ends", place: 1, program: "kube-apiserver", which: newKube},
			{name: "an API server that is never ready", place: 2, program: "kube-apiserver/readyz", which: newKube, always: true},
			{name: "a scheduler that ends, of which kubeadm sees nothing", place: 1, program: "kube-scheduler", which: newKube},
			{name: "an etcd that ends", place: 1, program: "etcd", which: "3.6.8-0", always: true},
			{name: "no room for kubeadm's copy of etcd", place: 0, program: "disk", which: "/etc/kubernetes/tmp/"},
			{name: "a kubelet that sees no manifest", place: 1},
			{name: "an image that is not pulled", place: 1, program: "image", which: "registry.k8s.io/kube-scheduler:" + newKube, untouched: true},
		} {
			if !c.always && !everyFault() {
				continue
			}
			w := begin.clone(t, memoryDir(t))
			m := w.Machines()[c.place]
			if c.program == "" {
				stepstest.Stick(m)
			} else {
				stepstest.Break(m, c.program, c.which, "it is spoilt")
			}
			w.Arm(nil)
			start := time.Now()
			if _, err := w.run(t.Context(), Upgrade()); err == nil {
				t.Errorf("%s: the upgrade succeeds", c.name)
			} else if c.program == "kubelet" && !strings.Contains(err.Error(), "kubelet has ended 5 times") {
				t.Errorf("%s: after %s nothing says how often: %v", c.name, time.Since(start), err)
			} else if !strings.Contains(err.Error(), m.IP) {
				t.Errorf("%s: the host is not named: %v", c.name, err)
			}
			stepstest.Mend(m)
			var before, after []string // addresses
			for i, other := range w.Machines() {
				if i < c.place && !c.untouched {
					before = append(before, other.IP)
				} else {
					after = append(after, other.IP)
				}
			}
			bad := slices.Concat(stepstest.NotAt(w.Site, oldKube, oldContainerd, before...), w.Unsound(3))
			if len(before) > 0 {
				bad = append(bad, stepstest.NotAt(w.Site, newKube, newContainerd, after...)...)
			}
			for _, b := range bad {
				t.Errorf("%s: %s", c.name, b)
			}
			w.served(t, 2)
			if _, err := w.run(t.Context(), Upgrade()); err != nil {
				t.Errorf("%s, mended: %v", c.name, err)
			} else if bad := upgraded(w, 3); len(bad) > 0 {
				t.Errorf("%s, mended:\n%s", c.name, strings.Join(bad, "\n"))
			}
		}
	})
}

// TestAnUpgradeThatWasCutOffIsTakenBack ends an upgrade at moments of a master, and takes it back.
func TestAnUpgradeThatWasCutOffIsTakenBack(t *testing.T) {
	detector.Whole(t)
	synctest.Test(t, func(t *testing.T) {
		begin := upgradeSite(t, 3, 2)
		second := begin.Machines()[1].IP
		for what, kind := range map[string]stepstest.FaultKind{
			"upgrade kube-apiserver: the new manifest comes": stepstest.PowerCut,
			"upgrade: kubelet's configuration":               stepstest.AgentDies,
			"script installs: kubelet":                       stepstest.InstallerDies,
			"systemctl restart":                              stepstest.InstallerDies,
		} {
			if !everyFault() && kind == stepstest.AgentDies || !everyFault() && what == "systemctl restart" {
				continue
			}
			w := begin.clone(t, memoryDir(t))
			w.Arm(&stepstest.Fault{Kind: kind, At: stepstest.Event{Host: second, Kind: "step", What: what, N: 1}})
			if _, err := w.run(t.Context(), Upgrade()); err == nil {
				t.Fatalf("%s: it was not cut off", what)
			}
			w.Repair()
			w.Arm(nil)
			w.served(t, 2)
			if _, err := w.run(t.Context(), Rollback()); err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			for _, b := range slices.Concat(stepstest.NotAt(w.Site, oldKube, oldContainerd), w.Unsound(3)) {
				t.Errorf("%s: after the way back: %s", what, b)
			}
			if changes, err := w.run(t.Context(), Rollback()); err != nil || changes != 0 {
				t.Errorf("%s: back again: %d changes, %v", what, changes, err)
			}
			if _, err := w.run(t.Context(), Upgrade()); err != nil {
				t.Errorf("%s: forward again: %v", what, err)
			} else if bad := upgraded(w, 3); len(bad) > 0 {
				t.Errorf("%s: forward again:\n%s", what, strings.Join(bad, "\n"))
			}
		}
	})
}
