package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// rolloutKills is a rollout of settings of all kinds.
func rolloutKills(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	begin := installedSite(t, 2, 1)
	begin.asks(applies, apiServerFlag, kubeletMaxPods, proxyNFT)
	k := &killTest{begin: begin, pipeline: Install(), then: Install(), again: true}
	w := k.begin.clone(t, memoryDir(t))
	w.Arm(nil)
	if _, err := w.run(t.Context(), k.pipeline); err != nil {
		t.Fatal(err)
	}
	k.made = w.trees(t)
	k.sound = func(w *world) []string {
		out := w.Unsound(2)
		for i, m := range w.Machines() {
			if !strings.Contains(m.KubeletRuns(), "maxPods: 200") {
				out = append(out, m.IP+": kubelet runs with the settings of before")
			}
			if w.Unschedulable(m.Name) {
				out = append(out, m.IP+" is cordoned")
			}
			if text, _ := os.ReadFile(filepath.Join(m.Root(), apiManifest)); i < 2 && !strings.Contains(string(text), "--max-requests-inflight=800") {
				out = append(out, m.IP+": the API server runs with the settings of before")
			}
		}
		if !strings.Contains(stepstest.ProxyRuns(w.Site), "mode: nftables") {
			out = append(out, "kube-proxy runs with the settings of before")
		}
		return out
	}
	return k, w.Trace()
}

func TestARolloutOfSettingsSurvivesEveryFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := rolloutKills(t)
		var list []*stepstest.Fault
		for i, e := range events {
			// Each run waits for kubelets: a sample of the writes, and every step from one state to the next.
			changes := e.Kind == "after" && (strings.HasSuffix(e.What, "/journal/settings") || strings.Contains(e.What, "/settings-before/") && i%3 == 0) ||
				e.Kind == "step" && (strings.HasPrefix(e.What, "kubectl rollout") || strings.HasPrefix(e.What, "systemctl restart"))
			if everyFault() || changes {
				list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e})
			}
		}
		t.Logf("%d deaths of the installer", len(list))
		k.all(t, append(list, randomFaults(t, events, 6, 600)...))
	})
}

func TestAnApplyThatWasCutOffIsFinishedByApplyAlone(t *testing.T) {
	w := installedSite(t, 1, 1)
	w.asks(applies, kubeletLogs)
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[1].IP, Kind: "step", What: "systemctl restart", N: 1}})
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("it was not cut off")
	}
	w.asks(settings.Wish{}, kubeletLogs)
	if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "written, and not in force yet") {
		t.Errorf("%v", err)
	}
	w.asks(applies, kubeletLogs)
	if _, err := w.run(t.Context(), Install()); err != nil || !strings.Contains(w.Machines()[1].KubeletRuns(), "containerLogMaxFiles: 9") {
		t.Errorf("%v, %s", err, w.Machines()[1].KubeletRuns())
	}
}

func TestPodsOfAClusterOfOneHostStay(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.take = 1
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.asks(applies, kubeletMaxPods)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if m := w.Machines()[0]; !strings.Contains(m.KubeletRuns(), "maxPods: 200") || len(w.stepsOf("kubectl drain")) > 0 {
		t.Errorf("%s, %v", m.KubeletRuns(), w.stepsOf("kubectl drain"))
	}
}
