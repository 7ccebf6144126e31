package steps

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// patch is of the same minor version as oldKube: all masters may go back from it.
const patch = "v1.35.4"

// patchedSite is one on which an upgrade to it was cut off at a node, when the add-ons had followed.
func patchedSite(t *testing.T) *world {
	t.Helper()
	w := upgradeSite(t, 1, 2)
	w.bundle = bundleOf(t, stepstest.Kubernetes(patch, newContainerd))
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[2].IP, Kind: "step", What: "script installs: kubelet", N: 1}})
	if _, err := w.run(t.Context(), Upgrade()); !errors.Is(err, errDead) {
		t.Fatalf("it was not cut off: %v", err)
	}
	w.Arm(nil)
	return w
}

// TestARollbackOfAPatchUpgradePutsTheAddOnsBack takes an upgrade back that was cut off at its nodes, when the add-ons had followed.
func TestARollbackOfAPatchUpgradePutsTheAddOnsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := patchedSite(t)
		addons := func(w *world) string {
			return w.mustKubectl(t, "get", "-n", "kube-system", "daemonset/kube-proxy", "-o", "json")
		}
		if !strings.Contains(addons(begin), patch) {
			t.Fatal("the add-ons have not followed yet")
		}
		for name, fault := range map[string]*stepstest.Fault{
			"at once":             nil,
			"cut off before them": {Kind: stepstest.InstallerDies, At: stepstest.Event{Host: begin.Machines()[0].IP, Kind: "step", What: "upgrade: add-on kube-proxy", N: 1}},
		} {
			w := begin.clone(t, memoryDir(t))
			w.Arm(fault)
			_, err := w.run(t.Context(), Rollback())
			w.Arm(nil)
			if fault != nil && err == nil {
				t.Errorf("%s: it was not cut off", name)
			}
			if fault != nil {
				_, err = w.run(t.Context(), Rollback())
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for _, bad := range append(stepstest.NotAt(w.Site, oldKube, oldContainerd), w.Unsound(1)...) {
				t.Errorf("%s: %s", name, bad)
			}
			for _, m := range w.Machines() {
				if m.Has("/var/lib/sealos/data/default/rootfs.next") {
					t.Errorf("%s: %s keeps the rootfs that was staged", name, m.IP)
				}
			}
			if changes, err := w.run(t.Context(), Rollback()); err != nil || changes != 0 {
				t.Errorf("%s: back again: %d changes, %v", name, changes, err)
			}
			if _, err := w.run(t.Context(), Upgrade()); err != nil || !strings.Contains(addons(w), patch) {
				t.Errorf("%s: forward again: %v", name, err)
			}
		}
	})
}

// TestAddOnsThatDoNotGoBackAreTold has a cluster whose kube-proxy kubeadm does not put back.
func TestAddOnsThatDoNotGoBackAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := patchedSite(t)
		stepstest.Break(w.Machines()[0], "kubeadm", "addons", "it has no such phase")
		var told strings.Builder
		w.told = &told
		if _, err := w.run(t.Context(), Rollback()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"↓ deployment/coredns: registry.k8s.io/coredns/coredns:v1.13.2 → registry.k8s.io/coredns/coredns:v1.13.1",
			"daemonset/kube-proxy does not go back from registry.k8s.io/kube-proxy:" + patch + " to registry.k8s.io/kube-proxy:" + oldKube, "it has no such phase",
			"kubectl -n kube-system set image daemonset/kube-proxy kube-proxy=registry.k8s.io/kube-proxy:" + oldKube,
		} {
			if !strings.Contains(told.String(), want) {
				t.Errorf("not told: %s\n%s", want, told.String())
			}
		}
		stepstest.Mend(w.Machines()[0])
		if _, err := w.run(t.Context(), Rollback()); err != nil {
			t.Fatal(err)
		}
		for _, bad := range stepstest.NotAt(w.Site, oldKube, oldContainerd) {
			t.Errorf("once the cause is mended: %s", bad)
		}
	})
}
