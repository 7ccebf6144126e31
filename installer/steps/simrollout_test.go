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

// Documents of an operator.
const (
	kubeletMaxPods = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 200\n"
	kubeletLogs    = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerLogMaxFiles: 9\n"
	kubeletBroken  = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupRoot: " + stepstest.NoSuchRoot + "\n"
	proxyNFT       = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n"
	apiServerFlag  = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n  - {name: max-requests-inflight, value: \"800\"}\n"
	apiServerBad   = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n  - {name: " + stepstest.NoSuchFlag + ", value: \"1\"}\n"
	otherPods      = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.200.0.0/16}\n"
)

const (
	apiManifest  = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	kubeletFile  = "/var/lib/kubelet/config.yaml"
	proxyInForce = "kube-proxy"
)

// installedSite is a site of masters and workers on which a cluster was made.
func installedSite(t *testing.T, masters, workers int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), simBundle(t), masters, workers)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	return w
}

// asks makes an operator ask for documents.
func (w *world) asks(wish settings.Wish, docs ...string) {
	w.settings, w.docs = wish, nil
	for _, doc := range docs {
		w.docs = append(w.docs, []byte(doc))
	}
	w.Arm(nil)
}

var applies = settings.Wish{Apply: true}

func (w *world) file(t *testing.T, m *stepstest.Machine, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// steps are the steps of programs that the last run took, as far as they begin with one of the words.
func (w *world) stepsOf(words ...string) (out []string) {
	for _, e := range w.Trace() {
		if e.Kind == "step" && slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(e.What, word) }) {
			out = append(out, e.Host+" "+e.What)
		}
	}
	return out
}

func TestSettingsOfANewClusterAreInForceAndNothingIsDoneAgain(t *testing.T) {
	w := installedSite(t, 2, 1)
	for _, wish := range []settings.Wish{{}, applies} {
		w.asks(wish)
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("%+v: %d changes, %v", wish, changes, err)
		}
		for _, e := range w.Trace() {
			if strings.Contains(e.What, "/settings") {
				t.Errorf("%+v: kubeadm rendered anew although nothing has changed: %s", wish, e)
			}
		}
	}
}

func TestAKubeletSettingRollsHostByHost(t *testing.T) {
	for name, c := range map[string]struct {
		doc, line string
		drained   bool
	}{
		"pods go on":     {kubeletLogs, "containerLogMaxFiles: 9", false},
		"pods move away": {kubeletMaxPods, "maxPods: 200", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := installedSite(t, 1, 2)
				w.asks(applies, c.doc)
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 4 {
					t.Fatalf("%d changes, %v", changes, err)
				}
				for _, m := range w.Machines() {
					if !strings.Contains(m.KubeletRuns(), c.line) {
						t.Errorf("kubelet of %s runs %s", m.IP, m.KubeletRuns())
					}
					if w.Unschedulable(m.Name) {
						t.Errorf("%s stays cordoned", m.Name)
					}
				}
				if !strings.Contains(stepstest.ConfigMap(w.Site, "kubelet-config"), c.line) {
					t.Error("hosts that join later get the setting of before")
				}
				if got := len(w.stepsOf("kubectl drain")) > 0; got != c.drained {
					t.Errorf("drained: %v", w.stepsOf("kubectl drain"))
				}
				if unsound := w.Unsound(1); len(unsound) > 0 {
					t.Error(unsound)
				}
				w.asks(applies, c.doc)
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
					t.Errorf("again: %d changes, %v", changes, err)
				}
			})
		})
	}
}

func TestAnAPIServersFlagRollsMasterByMaster(t *testing.T) {
	w := installedSite(t, 3, 1)
	w.asks(applies, apiServerFlag)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 4 {
		t.Fatalf("%d changes, %v", changes, err)
	}
	for _, m := range w.Machines()[:3] {
		if text := w.file(t, m, apiManifest); !strings.Contains(text, "--max-requests-inflight=800") || !strings.Contains(text, "--advertise-address="+m.IP) {
			t.Errorf("%s: %s", m.IP, text)
		}
	}
	if restarted := w.stepsOf("systemctl restart"); len(restarted) > 0 {
		t.Errorf("kubelets were restarted: %v", restarted)
	}
	// Taken back, it goes.
	w.asks(applies)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 4 {
		t.Fatalf("taken back: %d changes, %v", changes, err)
	}
	for _, m := range w.Machines()[:3] {
		if text := w.file(t, m, apiManifest); strings.Contains(text, "max-requests-inflight") {
			t.Errorf("%s keeps it: %s", m.IP, text)
		}
	}
	if strings.Contains(stepstest.ConfigMap(w.Site, "kubeadm-config"), "max-requests-inflight") {
		t.Error("masters that join later get it")
	}
}

func TestAModeOfKubeProxyIsRolledOut(t *testing.T) {
	w := installedSite(t, 1, 1)
	w.asks(applies, proxyNFT)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 1 {
		t.Fatalf("%d changes, %v", changes, err)
	}
	if !strings.Contains(stepstest.ProxyRuns(w.Site), "mode: nftables") {
		t.Errorf("kube-proxy runs %s", stepstest.ProxyRuns(w.Site))
	}
	w.asks(applies, proxyNFT)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("again: %d changes, %v", changes, err)
	}
}

func TestAVerbThatChangesNoSettingsRefusesDocumentsThatAreNotInForce(t *testing.T) {
	w := installedSite(t, 1, 1)
	made, record := w.trees(t), readRecord(t, w)
	for _, doc := range []string{kubeletMaxPods, apiServerFlag, proxyNFT} {
		w.asks(settings.Wish{}, doc)
		_, err := w.run(t.Context(), Install())
		refused, ok := errors.AsType[*preflight.Error](err)
		if !ok || !strings.Contains(err.Error(), "sealinstall apply -f") {
			t.Fatalf("%s: %v", doc, err)
		}
		for _, p := range refused.Problems {
			if p.Check != "settings" {
				t.Errorf("%+v", p)
			}
		}
		for i, tree := range w.trees(t) {
			if diff := differences(made[i], tree); len(diff) > 0 {
				t.Errorf("host %d was changed: %v", i, diff)
			}
		}
		if diff := cmp.Diff(record, readRecord(t, w)); diff != "" {
			t.Errorf("the record tells of settings that are not in force: %s", diff)
		}
	}
	// Once they are in force, the same documents are fine.
	w.asks(applies, kubeletMaxPods)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.asks(settings.Wish{}, kubeletMaxPods)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("%d changes, %v", changes, err)
	}
	w.asks(settings.Wish{})
	if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "maxPods: 200 -> 110") {
		t.Errorf("a setting that was taken back: %v", err)
	}
}

func readRecord(t *testing.T, w *world) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "Clusterfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatIsDecidedWhenAClusterIsMadeIsRefused(t *testing.T) {
	w := installedSite(t, 1, 1)
	for _, wish := range []settings.Wish{{}, applies, {Apply: true, TakeOver: true}} {
		w.asks(wish, otherPods)
		if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "networking.podSubnet: 100.64.0.0/10 -> 10.200.0.0/16: pods and Services have addresses") {
			t.Errorf("%+v: %v", wish, err)
		}
	}
}

func TestWhatSomebodyChangedByHandStaysUntilItIsTakenOver(t *testing.T) {
	w := installedSite(t, 1, 1)
	worker := w.Machines()[1]
	edit := func() {
		t.Helper()
		text := strings.Replace(w.file(t, worker, kubeletFile), "maxPods: 110", "maxPods: 33", 1)
		if err := os.WriteFile(filepath.Join(worker.Root(), kubeletFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		stepstest.EditConfigMap(w.Site, proxyInForce, "mode: ipvs", "mode: iptables")
	}
	edit()
	for _, wish := range []settings.Wish{{}, applies} {
		var told bytes.Buffer
		w.told = &told
		w.asks(wish)
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Fatalf("%+v: %d changes, %v", wish, changes, err)
		}
		for _, says := range []string{"KubeletConfiguration maxPods: 33 -> 110", "kube-system/kube-proxy was changed by hand", "--take-over"} {
			if !strings.Contains(told.String(), says) {
				t.Errorf("%+v: %q is not told: %s", wish, says, told.String())
			}
		}
		if !strings.Contains(w.file(t, worker, kubeletFile), "maxPods: 33") || !strings.Contains(stepstest.ConfigMap(w.Site, proxyInForce), "mode: iptables") {
			t.Errorf("%+v: it was overwritten", wish)
		}
	}
	// A file that is to be changed, too, is somebody's decision.
	w.asks(applies, kubeletLogs)
	if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "overwrite it with --take-over") || !strings.Contains(err.Error(), worker.IP) {
		t.Errorf("%v", err)
	}
	// What has nothing to do with it is changed.
	w.asks(applies, apiServerFlag)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 2 {
		t.Errorf("%d changes, %v", changes, err)
	}
	w.asks(settings.Wish{Apply: true, TakeOver: true}, apiServerFlag)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 2 {
		t.Errorf("taken over: %d changes, %v", changes, err)
	}
	if !strings.Contains(worker.KubeletRuns(), "maxPods: 110") || !strings.Contains(stepstest.ProxyRuns(w.Site), "mode: ipvs") {
		t.Errorf("kubelet runs %s, kube-proxy %s", worker.KubeletRuns(), stepstest.ProxyRuns(w.Site))
	}
	var told bytes.Buffer
	w.told = &told
	w.asks(applies, apiServerFlag)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 || strings.Contains(told.String(), "by hand") {
		t.Errorf("afterwards: %d changes, %v, %s", changes, err, told.String())
	}
}

func TestAHostThatDoesNotLiveWithNewSettingsGetsThoseOfBefore(t *testing.T) {
	for name, c := range map[string]struct{ doc, file, why, says string }{
		"kubelet":    {kubeletBroken, kubeletFile, "kubelet has ended 5 times", "kubelet does not come back with the new settings, so it was given those of before"},
		"API server": {apiServerBad, apiManifest, "", "kube-apiserver does not come back with the new settings, so it was given those of before"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := installedSite(t, 3, 1)
				var before []string
				for _, m := range w.Machines()[:3] {
					before = append(before, w.file(t, m, c.file))
				}
				w.asks(applies, c.doc)
				w.timeout = 5 * time.Minute
				_, err := w.run(t.Context(), Install())
				if err == nil || !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), w.Machines()[0].IP) {
					t.Fatal(err)
				}
				for i, m := range w.Machines()[:3] {
					if diff := cmp.Diff(before[i], w.file(t, m, c.file)); diff != "" {
						t.Errorf("%s: %s", m.IP, diff)
					}
					if w.Unschedulable(m.Name) {
						t.Errorf("%s stays cordoned", m.Name)
					}
				}
				if unsound := w.Unsound(3); len(unsound) > 0 {
					t.Error(unsound)
				}
				if _, err := os.Stat(filepath.Join(w.Machines()[0].Root(), "/var/lib/sealos/data/default/settings-before")); err == nil {
					t.Error("what was kept for the way back is still there")
				}
				// The corrected Clusterfile is applied as if nothing had been.
				w.asks(applies)
				if _, err := w.run(t.Context(), Install()); err != nil {
					t.Fatal(err)
				}
				w.asks(applies)
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
					t.Errorf("%d changes, %v", changes, err)
				}
			})
		})
	}
}

func TestAHostThatCannotBeDrainedKeepsItsSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installedSite(t, 1, 2)
		w.Deploy(stepstest.App{Kind: "Deployment", Namespace: "shop", Name: "till", Replicas: 2, MinAvailable: 2})
		w.asks(applies, kubeletMaxPods)
		_, err := w.run(t.Context(), Install())
		if err == nil || !strings.Contains(err.Error(), "PodDisruptionBudget shop/till allows no disruption now") {
			t.Fatal(err)
		}
		drained := false
		for _, m := range w.Machines()[1:] {
			text := w.file(t, m, kubeletFile)
			drained = drained || strings.Contains(text, "maxPods: 200")
			if w.Unschedulable(m.Name) {
				t.Errorf("%s stays cordoned", m.Name)
			}
		}
		if drained {
			t.Error("a host with pods that could not move got its new settings")
		}
	})
}

func TestAHostWhoseSettingsCannotBeWrittenGetsPodsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installedSite(t, 1, 2)
		w.asks(applies, kubeletMaxPods)
		w.Arm(&stepstest.Fault{Kind: stepstest.DiskFull, On: w.Machines()[1].IP, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "step", What: "kubectl drain host-2: done", N: 1}})
		if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Fatal(err)
		}
		if got := w.cordoned(); len(got) > 0 {
			t.Errorf("cordoned: %v", got)
		}
		w.Repair()
		w.Arm(nil)
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAPodThatNothingMakesAnewIsNamedBeforeAnythingIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installedSite(t, 1, 2)
		w.Deploy(stepstest.App{Kind: "Pod", Namespace: "shop", Name: "lonely", Replicas: 1})
		w.asks(applies, kubeletMaxPods)
		if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "nothing makes pod shop/lonely") {
			t.Fatal(err)
		}
		w.asks(applies, kubeletLogs) // no host is drained for that
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
	})
}
