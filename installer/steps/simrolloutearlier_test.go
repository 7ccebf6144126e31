package steps

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// TestADefaultOfANewerInstallerIsNoDifferenceOfTheOperator has a cluster that an earlier installer has made, which did not know the
// delay of API servers that end: its documents are those of now without it, and the record has no word of it.
func TestADefaultOfANewerInstallerIsNoDifferenceOfTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flag, argument = "shutdown-delay-duration", "--shutdown-delay-duration=10s"
		w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
		w.asks(settings.Wish{}, "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer: {extraArgs: [{name: "+flag+", value: null}]}\n")
		w.mustRun(t, Install())
		if text := w.file(t, w.Machines()[0], apiManifest) + stepstest.ConfigMap(w.Site, "kubeadm-config"); strings.Contains(text, flag) {
			t.Fatalf("the cluster is made with it: %s", text)
		}
		records := []string{filepath.Join(w.dir, "Clusterfile")}
		for _, m := range w.Machines()[:2] {
			records = append(records, filepath.Join(m.Root(), ledger.RecordOnMaster("default")))
		}
		for _, name := range records {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			other := strings.ReplaceAll(string(text), flag, "no-flag-at-all")
			if other == string(text) {
				t.Fatalf("%s says nothing of it: %s", name, text)
			}
			if err := os.WriteFile(name, []byte(other), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, wish := range []settings.Wish{{}, {}, applies} {
			var told bytes.Buffer
			w.told = &told
			w.asks(wish)
			if _, err := w.run(t.Context(), Install()); err != nil {
				t.Fatalf("%+v: %v", wish, err)
			}
			if strings.Contains(told.String(), "by hand") || strings.Contains(told.String(), "~ change") != wish.Apply {
				t.Errorf("%+v: told %s", wish, told.String())
			}
			for _, m := range w.Machines()[:2] {
				if strings.Contains(w.file(t, m, apiManifest), argument) != wish.Apply {
					t.Errorf("%+v: %s: %s", wish, m.IP, w.file(t, m, apiManifest))
				}
			}
		}
		w.asks(applies)
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("again: %d changes, %v", changes, err)
		}
		if bad := w.Unsound(2); len(bad) > 0 {
			t.Error(bad)
		}
	})
}

func TestAClusterOfAnEarlierInstallerIsTakenAsItIs(t *testing.T) {
	w := installedSite(t, 1, 1)
	worker := w.Machines()[1]
	text := strings.Replace(w.file(t, worker, kubeletFile), "containerLogMaxFiles: 5", "containerLogMaxFiles: 7", 1)
	if err := os.WriteFile(filepath.Join(worker.Root(), kubeletFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		if err := os.Remove(filepath.Join(m.Root(), "/var/lib/sealos/data/default/journal/settings")); err != nil {
			t.Fatal(err)
		}
	}
	var told bytes.Buffer
	w.told = &told
	w.asks(settings.Wish{})
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 || !strings.Contains(told.String(), "they count as nobody's change by hand") || strings.Contains(told.String(), "was changed by hand") {
		t.Errorf("%d changes, %v, %s", changes, err, told.String())
	}
	// It differs from what is wanted, so apply changes it, and says so.
	w.asks(applies)
	if _, err := w.run(t.Context(), Install()); err != nil || !strings.Contains(told.String(), "~ change "+worker.IP+": KubeletConfiguration containerLogMaxFiles: 7 -> 5") {
		t.Errorf("%v, %s", err, told.String())
	}
	if !strings.Contains(worker.KubeletRuns(), "containerLogMaxFiles: 5") {
		t.Error(worker.KubeletRuns())
	}
}
