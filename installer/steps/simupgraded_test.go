package steps

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// olderSite is a site with a cluster of the older version, and the bundle of the newer one.
func olderSite(t *testing.T, masters, workers int) (w *world, newer []byte) {
	t.Helper()
	w = newWorld(t, memoryDir(t), bundleOf(t, stepstest.Kubernetes("v1.35.0", "2.1.4")), masters, workers)
	w.timeout = 30 * time.Second // a host is looked at several times before the next one follows
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	return w, bundleOf(t, stepstest.Kubernetes("v1.36.3", "2.2.0"))
}

// refusedRun runs a pipeline that must be refused before it changes anything.
func (w *world) refusedRun(t *testing.T, pipeline []Step, says ...string) {
	t.Helper()
	before := w.trees(t)
	w.Arm(nil)
	_, err := w.run(t.Context(), pipeline)
	if _, is := errors.AsType[*preflight.Error](err); !is {
		t.Fatalf("not refused: %v", err)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	for i, tree := range w.trees(t) {
		for _, d := range differences(before[i], tree) {
			t.Errorf("host %d was changed: %s", i+1, d)
		}
	}
}

func TestAnotherBundleIsRefusedWithTheVerbThatIsMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 1)
		older := w.bundle
		w.bundle = newer
		w.refusedRun(t, Install(), "this is an upgrade", "`upgrade`")
		w.upgrade = true
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		w.bundle = older // with which the cluster was made once
		w.refusedRun(t, Upgrade(), "does not go back")
		w.upgrade = false
		w.refusedRun(t, Install(), "use the bundle that the cluster was made with")
	})
}

// TestAHostWhereAnUpgradeWasCutOffIsToldWithUpgrade has one kubelet that lags, of the last host.
func TestAHostWhereAnUpgradeWasCutOffIsToldWithUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 1)
		m := w.Machines()[1]
		w.upgrade, w.bundle = true, newer
		w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: m.IP, Kind: "step", What: "script installs: kubelet", N: 1}})
		if _, err := w.run(t.Context(), Upgrade()); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		w.Arm(nil)
		w.upgrade = false
		_, err := w.run(t.Context(), Install())
		for _, want := range []string{m.IP, "an upgrade to v1.36.3", "was begun there and did not come to its end", "run this bundle with the verb `upgrade`"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it is told %v, want %q", err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "made with") {
			t.Errorf("it is sent to another bundle: %v", err)
		}
	})
}

func TestOnlyAClusterIsUpgradedAndOneMinorAtATime(t *testing.T) {
	w, _ := olderSite(t, 1, 1)
	w.upgrade, w.bundle = true, bundleOf(t, stepstest.Kubernetes("v1.37.0", "2.2.0"))
	w.refusedRun(t, Upgrade(), "skip a minor version", "v1.36 comes first")

	fresh := newWorld(t, memoryDir(t), w.bundle, 1, 1)
	fresh.upgrade = true
	fresh.refusedRun(t, Upgrade(), "there is nothing to upgrade")
}

func TestWhatSomebodyChangedByHandIsNamedBeforeAnUpgradeOverwritesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 1)
		m := w.Machines()[1]
		text := strings.Replace(w.file(t, m, kubeletFile), "maxPods: 110", "maxPods: 33", 1)
		if err := os.WriteFile(filepath.Join(m.Root(), kubeletFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w.upgrade, w.bundle = true, newer
		w.refusedRun(t, Upgrade(), m.IP, "somebody has changed "+kubeletFile, "--take-over")
		w.settings = settings.Wish{TakeOver: true}
		var told bytes.Buffer
		w.told = &told
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		if text := w.file(t, m, kubeletFile); strings.Contains(text, "maxPods: 33") || !strings.Contains(told.String(), "it is overwritten") {
			t.Errorf("%s\n%s", text, &told)
		}
	})
}

func TestAHostThatCannotBeDrainedIsNotUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 2)
		w.Deploy(stepstest.App{Kind: "Deployment", Namespace: "shop", Name: "till", Replicas: 2, MinAvailable: 2})
		w.upgrade, w.bundle = true, newer
		w.refusedRun(t, Upgrade(), "PodDisruptionBudget shop/till allows no disruption")
		w.ignore = []string{"drain"}
		w.Arm(nil)
		var told strings.Builder
		w.told = &told
		_, err := w.run(t.Context(), Upgrade())
		for _, want := range []string{"of rootfs to each host (3)", "of container images to each registry (1)", "of its pods moves to other hosts first: shop/till-"} {
			if !strings.Contains(told.String(), want) {
				t.Errorf("%s\ndoes not say %q before it begins", &told, want)
			}
		}
		if err == nil || !strings.Contains(err.Error(), "PodDisruptionBudget shop/till allows no disruption now") {
			t.Fatal(err)
		}
		held := 0
		for _, m := range w.Machines()[1:] {
			if w.Unschedulable(m.Name) {
				t.Errorf("%s stays cordoned", m.Name)
			}
			if text := w.file(t, m, "/usr/bin/kubelet"); strings.Contains(text, "v1.35.0") {
				held++
			}
		}
		if held == 0 {
			t.Error("a host was upgraded with pods that could not move")
		}
	})
}

func TestApplicationsAloneAreUpgradedWithoutTouchingHosts(t *testing.T) {
	w, _ := olderSite(t, 1, 1)
	images := stepstest.Kubernetes("v1.35.0", "2.1.4")
	for i := range images {
		if images[i].Config.Labels["sealos.io.type"] == "application" {
			images[i].Name = strings.TrimSuffix(images[i].Name, ":1.0") + ":1.1"
			images[i].Files = map[string]string{"new": "content\n"}
		}
	}
	kubelet := w.file(t, w.Machines()[1], "/usr/bin/kubelet")
	w.upgrade, w.bundle = true, bundleOf(t, images)
	w.Arm(nil)
	if _, err := w.run(t.Context(), Upgrade()); err != nil {
		t.Fatal(err)
	}
	if left := w.stepsOf("kubectl drain", "kubeadm upgrade"); len(left) > 0 || w.file(t, w.Machines()[1], "/usr/bin/kubelet") != kubelet {
		t.Error(left)
	}
	w.Arm(nil)
	if changes, err := w.run(t.Context(), Upgrade()); err != nil || changes != 0 {
		t.Errorf("again: %d changes, %v", changes, err)
	}
}

func TestAnUpgradeLeavesCertificatesAloneAndCannotBeTakenBackAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 1, 1)
		certificates := func() (out []string) {
			for name, text := range w.trees(t)[0] {
				if strings.HasPrefix(name, "etc/kubernetes/pki/") || strings.HasPrefix(name, "/etc/kubernetes/pki/") {
					out = append(out, name+"="+text)
				}
			}
			slices.Sort(out)
			return out
		}
		before := certificates()
		w.upgrade, w.bundle = true, newer
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, certificates()); diff != "" || len(before) == 0 {
			t.Errorf("%d certificates and keys, %s", len(before), diff)
		}
		w.refusedRun(t, Rollback(), "has come to its end", "snapshots")
	})
}

func TestAnUpgradeThatWasTakenBackIsNotOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, newer := olderSite(t, 2, 1)
		older := w.bundle
		stepstest.Break(w.Machines()[1], "kube-apiserver", "v1.36.3", "it ends at once")
		w.upgrade, w.bundle = true, newer
		w.Arm(nil)
		if _, err := w.run(t.Context(), Upgrade()); err == nil {
			t.Fatal("an API server that does not start was not noticed")
		}
		w.Arm(nil)
		if _, err := w.run(t.Context(), Rollback()); err != nil {
			t.Fatal(err)
		}
		w.upgrade, w.bundle = false, older
		w.Arm(nil)
		changes, err := w.run(t.Context(), Install())
		if err != nil || changes != 0 {
			t.Errorf("%d changes, %v", changes, err)
		}
		for _, m := range w.Machines() {
			if text := w.file(t, m, "/usr/bin/kubelet"); !strings.Contains(text, "v1.35.0") {
				t.Errorf("%s: %s", m.IP, text)
			}
		}
	})
}
