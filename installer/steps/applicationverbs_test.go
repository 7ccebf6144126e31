package steps

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/ledger"
)

func TestStatusCertificatesAndResetNeedNothingOfTheRootfsThatABundleOfApplicationsLacks(t *testing.T) {
	w := finishedWorld(t, 2, 1)
	want := w.recordedStatus(t)
	before, _ := w.record(t)
	plans := [][]Step{PlanReset(), PlanCertificates([]string{"all"})}
	var told []string
	for _, list := range plans {
		told = append(told, timelessOutput(w.planned(t, list)))
	}
	w.bundle = applications(t)
	w.again(t)
	// The same answer, but for what the bundle itself says of the registry.
	got := w.recordedStatus(t)
	want.At, want.Registry, got.Registry = got.At, nil, nil
	if diff := cmp.Diff(want, got); diff != "" || !got.Ready {
		t.Errorf("status: ready %v %s", got.Ready, diff)
	}
	for i, list := range plans {
		if diff := cmp.Diff(told[i], timelessOutput(w.planned(t, list))); diff != "" {
			t.Errorf("plan: %s", diff)
		}
	}
	if changes, err := w.run(t.Context(), Certificates(true, []string{"all"}, func([]HostCertificates) {})); err != nil || changes == 0 {
		t.Errorf("%d changes, %v", changes, err)
	}
	if bad := w.Unsound(2); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
	if ran := w.stepsOf("script begins: init-registry.sh"); len(ran) != 2+2 { // of the installation, and with the registries' certificates
		t.Errorf("scripts that ran: %v", ran)
	}
	if record, _ := w.record(t); record != before {
		t.Errorf("the record: %s", cmp.Diff(before, record))
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if bad := w.Gone(); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
	for i, never := range newWorld(t, memoryDir(t), simBundle(t), 2, 1).trees(t) {
		if left := differences(never, w.trees(t)[i]); len(left) > 0 {
			t.Errorf("host %d: %v", i, left)
		}
	}
}

// timelessOutput is what a run tells, without when it did and how long it took.
func timelessOutput(text string) string {
	return regexp.MustCompile(`(?m)^[0-9:]{8} | in [0-9.]+s`).ReplaceAllString(text, "")
}

func TestABundleOfApplicationsResetsNoClusterThatNothingIsRecordedOf(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.bundle = applications(t)
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		if err := os.RemoveAll(filepath.Join(m.Root(), ledger.RecordOnMaster("default"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.run(t.Context(), Reset()); err == nil || !strings.Contains(err.Error(), "there is no record of a cluster") {
		t.Errorf("%v", err)
	}
}
