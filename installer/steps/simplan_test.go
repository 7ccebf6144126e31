package steps

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// planned runs a plan, which must change no host and nothing of the state, and gives what it tells.
func (w *world) planned(t *testing.T, list []Step) string {
	t.Helper()
	state := func() (out []string) {
		if err := filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(name)) != "logs" {
				info, err := d.Info()
				if err != nil {
					return err
				}
				out = append(out, name+" "+info.ModTime().String())
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	hosts, own := w.trees(t), state()
	var told bytes.Buffer
	w.told = &told
	defer func() { w.told = nil }()
	if _, err := w.run(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for i, tree := range w.trees(t) {
		if diff := cmp.Diff(hosts[i], tree); diff != "" {
			t.Errorf("host %d was changed: %s", i+1, diff)
		}
	}
	if diff := cmp.Diff(own, state()); diff != "" {
		t.Errorf("the state was changed: %s", diff)
	}
	return told.String()
}

func TestAPlanOfAResetTellsWhatTheResetDoes(t *testing.T) {
	w := installed(t, 2, 1)
	told := w.planned(t, PlanReset())
	var order []string
	for _, line := range regexp.MustCompile(`(?m)^[0-9:]{8} +(10\.77\.0\.\d) \((master|node)\): (.*)$`).FindAllStringSubmatch(told, -1) {
		order = append(order, line[1])
		if (line[2] == "master") != strings.Contains(line[3], "its member leaves etcd") || !strings.Contains(line[3], "kubeadm reset") || !strings.Contains(line[3], "/var/lib/sealos/data/default") {
			t.Errorf("%s", line[0])
		}
	}
	if diff := cmp.Diff([]string{"10.77.0.3", "10.77.0.2", "10.77.0.1"}, order); diff != "" {
		t.Errorf("%s\n%s", diff, told)
	}
	// A reset that was cut off on its way tells of what is left.
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: "10.77.0.2", Kind: "step", What: "reset: files", N: 1}})
	_, err := w.run(t.Context(), Reset())
	if err == nil {
		t.Fatalf("it was not cut off: %v", w.stepsOf("reset"))
	}
	w.Arm(nil)
	if told = w.planned(t, PlanReset()); strings.Count(told, "kubeadm reset") != 2 {
		t.Errorf("%s", told)
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if left := w.Gone(); len(left) > 0 {
		t.Error(left)
	}
}

func TestAPlanOfCertificatesTellsWhatIsMadeAnew(t *testing.T) {
	w := installed(t, 2, 1)
	if told := w.planned(t, PlanCertificates(nil)); strings.Count(told, "nothing would be made anew") != 2 {
		t.Errorf("%s", told)
	}
	told := w.planned(t, PlanCertificates([]string{"apiserver", "scheduler.conf", "registry"}))
	for _, ip := range []string{"10.77.0.1", "10.77.0.2"} {
		if want := ip + ": would be made anew: apiserver, scheduler.conf, registry; restarted: kube-scheduler"; !strings.Contains(told, want) {
			t.Errorf("%q is not in %s", want, told)
		}
	}
	all := w.planned(t, PlanCertificates([]string{"all"}))
	before := w.trees(t)
	if _, err := w.run(t.Context(), Certificates(true, []string{"all"}, func([]HostCertificates) {})); err != nil {
		t.Fatal(err)
	}
	// What is made anew is what was told, on each master.
	for i, tree := range w.trees(t)[:2] {
		var made []string
		for name, text := range tree {
			if m := regexp.MustCompile(`^/etc/kubernetes/(?:pki/)?([a-z/-]+(?:\.conf|\.crt))$`).FindStringSubmatch(name); m != nil && text != before[i][name] {
				made = append(made, strings.TrimSuffix(m[1], ".crt"))
			}
		}
		line := regexp.MustCompile(`10\.77\.0\.` + string(rune('1'+i)) + `: would be made anew: (.*), registry;`).FindStringSubmatch(all)
		if line == nil {
			t.Fatalf("%s", all)
		}
		names := strings.Split(line[1], ", ")
		slices.Sort(names)
		slices.Sort(made)
		if diff := cmp.Diff(names, made); diff != "" {
			t.Errorf("told and made: %s", diff)
		}
	}
	if told := w.planned(t, PlanCertificates(nil)); strings.Count(told, "nothing would be made anew") != 2 {
		t.Errorf("%s", told)
	}
}
