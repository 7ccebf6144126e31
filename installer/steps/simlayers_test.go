package steps

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// unpackedOnly is the pipeline up to the images in the directories of hosts.
func unpackedOnly() []Step { return Install()[:4] }

// otherImages are the images of simBundle built anew: some files are dropped, others come, others change.
func otherImages() []stepstest.Image {
	images := simImages()
	root := maps.Clone(images[0].Files)
	delete(root, "bin/tool")
	root["bin/other"], root["etc/more.conf"], root["scripts/init.sh"] = "another program\n", "more\n", "echo another init\n"
	images[0].Files = root
	images[1].Files = map[string]string{"manifests/renamed.yaml": "kind: List\n"}
	return images
}

// treeAfter is what is on fresh hosts once they have the images of a bundle.
func treeAfter(t *testing.T, pipeline []Step, bundles ...[]byte) (*world, []map[string]string) {
	t.Helper()
	w := newWorld(t, memoryDir(t), nil, 1, 1)
	for _, b := range bundles {
		w.bundle = b
		if _, err := w.run(t.Context(), pipeline); err != nil {
			t.Fatal(err)
		}
	}
	return w, w.trees(t)
}

func TestImagesAThenBThenALeaveNothingOfB(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, otherImages())
	_, once := treeAfter(t, unpackedOnly(), a)
	_, back := treeAfter(t, unpackedOnly(), a, b, a)
	for i := range once {
		if diff := differences(once[i], back[i]); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
}

func TestRebuiltApplicationIsAppliedWithoutWhatItDropped(t *testing.T) {
	images := simImages()
	images[1].Files = map[string]string{"manifests/renamed.yaml": "kind: List\n"}
	w, _ := treeAfter(t, Install(), simBundle(t), bundleOf(t, images))
	m := w.Machines()[0]
	found, err := filepath.Glob(filepath.Join(m.Root(), "/var/lib/sealos/data/default/applications/*/workdir/manifests/*"))
	if err != nil || len(found) != 1 || filepath.Base(found[0]) != "renamed.yaml" {
		t.Errorf("manifests: %v, %v", found, err)
	}
	if n := m.Done()["echo $(GREETING)"]; n != 0 {
		t.Errorf("an unexpanded command ran %d times", n)
	}
	if n := m.Done()["echo hi"]; n != 2 {
		t.Errorf("the application's command ran %d times, want 2: once for each build", n)
	}
	if n := m.Done()["echo first"]; n != 1 {
		t.Errorf("the rootfs's command ran %d times, want once", n)
	}
	if bad := w.Unsound(1); len(bad) > 0 {
		t.Error(bad)
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a further run: %d changes, %v", changes, err)
	}
}

// TestSwitchOfImagesSurvivesEveryFault brings B to hosts that have A, lets a fault happen, and goes back to A or on to B.
func TestSwitchOfImagesSurvivesEveryFault(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, otherImages())
	for name, then := range map[string][]byte{"back": a, "on": b} {
		t.Run(name, func(t *testing.T) {
			_, made := treeAfter(t, unpackedOnly(), then)
			begin, _ := treeAfter(t, unpackedOnly(), a)
			begin.bundle = b
			k := &killTest{
				begin: begin, pipeline: unpackedOnly(), then: unpackedOnly(), made: made, again: true, second: then,
				sound: func(w *world) []string { return w.Violations() },
			}
			w := begin.clone(t, memoryDir(t))
			w.Arm(nil)
			if _, err := w.run(t.Context(), unpackedOnly()); err != nil {
				t.Fatal(err)
			}
			var list []*stepstest.Fault
			for _, e := range w.Trace() {
				switching := strings.HasSuffix(e.What, "/rootfs") || strings.HasSuffix(e.What, "/.layers/list") || strings.Contains(e.What, "/journal/")
				if everyFault() || switching && e.Kind != string(agenttest.Staged) {
					list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e}, &stepstest.Fault{Kind: stepstest.AgentDies, At: e})
				}
			}
			k.all(t, append(list, randomFaults(t, w.Trace(), 20, 600)...))
		})
	}
}

func TestImagesMarkTellsWhatLiesOnAHost(t *testing.T) {
	a := simBundle(t)
	w, _ := treeAfter(t, unpackedOnly(), a)
	name := filepath.Join(w.Machines()[1].Root(), "/var/lib/sealos/data/default/journal", journal.Images)
	before, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(before), "sha256:") || !strings.HasSuffix(string(before), " v1.36.3 localhost/kubernetes:v1.36.3\n") {
		t.Errorf("%q, %v", before, err)
	}
	// From before the switch to its end no mark says what lies there.
	w.bundle = bundleOf(t, otherImages())
	w.Arm(nil)
	if _, err := w.run(t.Context(), unpackedOnly()); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, e := range w.Trace() {
		if e.Host == w.Machines()[1].IP && (strings.HasSuffix(e.What, "/journal/"+journal.Images) || e.What == "/var/lib/sealos/data/default/rootfs") && e.Kind != string(agenttest.Staged) {
			seen = append(seen, e.Kind+" "+filepath.Base(e.What))
		}
	}
	want := "removing images, after images, before rootfs, after rootfs, before images, after images"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("in this order: %s\nwant: %s", got, want)
	}
	if after, err := os.ReadFile(name); err != nil || string(after) == string(before) {
		t.Errorf("%q, %v", after, err)
	}
}

// TestOriginalCommandWorksAgainAfterOneWithOtherInputsFailed does what an operator does who mistyped a setting.
func TestOriginalCommandWorksAgainAfterOneWithOtherInputsFailed(t *testing.T) {
	w, made := treeAfter(t, Install(), simBundle(t))
	w.env = map[string]string{"registryPort": "22"}
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("a registry on port 22 is started: this test sees nothing")
	}
	w.env = nil
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatalf("without the setting: %v", err)
	}
	if bad := w.Unsound(1); len(bad) > 0 {
		t.Error(bad)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(made[i], tree); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a further run: %d changes, %v", changes, err)
	}
}

// TestFilesThatAreChangedNoMoreAreThoseOfTheImages runs with Config documents and a file for a template, and then without
// them.
func TestFilesThatAreChangedNoMoreAreThoseOfTheImages(t *testing.T) {
	a := simBundle(t)
	_, plain := treeAfter(t, unpackedOnly(), a)
	w := newWorld(t, memoryDir(t), a, 1, 1)
	configs := []installer.Config{
		{Name: "changes a file", Path: "manifests/app.yaml", Strategy: "append", Data: "# of the site\n"},
		{Name: "changes a program", Path: "bin/tool", Data: "of the site\n"},
		{Name: "makes a file", Match: "localhost/app:v1", Path: "manifests/site.yaml", Data: "kind: List\n"},
	}
	w.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: w.hosts(), Configs: configs} }
	if _, err := w.run(t.Context(), unpackedOnly()); err != nil {
		t.Fatal(err)
	}
	if diff := differences(plain[0], w.trees(t)[0]); len(diff) == 0 {
		t.Fatal("nothing is changed: this test sees nothing")
	}
	// If the run is cut off while it takes them back, the next run does it.
	configs = nil
	w.Arm(&stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{
		Host: w.Machines()[0].IP, Kind: string(agenttest.After), What: "/var/lib/sealos/data/default/rootfs/bin/tool", N: 1,
	}})
	if _, err := w.run(t.Context(), unpackedOnly()); err == nil {
		t.Error("nobody was killed: this test sees less than it could")
	}
	w.Arm(nil)
	if _, err := w.run(t.Context(), unpackedOnly()); err != nil {
		t.Fatal(err)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(plain[i], tree); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
}

// TestHostsWorkAgainAfterASwitchOfImages runs until scripts have started registry and runtime: what these need in the
// directory of the images has to be there again.
func TestHostsWorkAgainAfterASwitchOfImages(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, otherImages())
	started := Install()[:6]
	if started[5].Name != "bootstrap" {
		t.Fatalf("the last step is %s", started[5].Name)
	}
	w, made := treeAfter(t, started, a)
	for _, bundle := range [][]byte{b, a} {
		w.bundle = bundle
		w.Arm(nil)
		if _, err := w.run(t.Context(), started); err != nil {
			t.Fatal(err)
		}
		for _, script := range []string{"init-registry.sh", "init.sh"} {
			if !slices.ContainsFunc(w.Trace(), func(e stepstest.Event) bool { return e.What == "script ends: "+script }) {
				t.Errorf("%s did not run for other images", script)
			}
		}
		if changes, err := w.run(t.Context(), started); err != nil || changes != 0 {
			t.Errorf("a further run: %d changes, %v", changes, err)
		}
	}
	for i, tree := range w.trees(t) {
		maps.DeleteFunc(tree, func(name, _ string) bool { // the registry remembers that the other bundle came
			_, was := made[i][name]
			return !was && filepath.Base(filepath.Dir(name)) == "bundles"
		})
		if diff := differences(made[i], tree); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
	if bad := w.Violations(); len(bad) > 0 {
		t.Error(bad)
	}
}

// TestWhatACheckScriptChangedIsChangedAgainAfterASwitch switches with the real scripts of an image made for sealos.
func TestWhatACheckScriptChangedIsChangedAgainAfterASwitch(t *testing.T) {
	if !apart(t) {
		return
	}
	runtimeAnswers(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	env := map[string]string{"BIN_DIR": "/var/lib/test-bin", "registryConfig": "/var/lib/test-registry-config", "registryPort": freePort(t)}
	for _, motd := range []string{"one", "one", "two"} {
		images := stepstest.Sealos("#!/bin/sh\nexec " + host.Quote(self) + " plain-registry \"$@\"\n")
		images[0].Files["scripts/check.sh"] = "sed -i 's/disable_apparmor = false/disable_apparmor = found out/' ../etc/config.toml || exit\n"
		images[0].Files["etc/motd"] = motd + "\n"
		r := newRun(t, makeBundle(t, images), t.Output(), master)
		r.Cluster.Env = env
		mustCheck(t, r)
		if _, err := installer.RunSteps(t.Context(), until("init-master0"), r, r.Report); err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(r.RootfsDir() + "/etc/config.toml")
		if err != nil || !strings.Contains(string(config), "disable_apparmor = found out") {
			t.Errorf("with motd %s: %s, %v", motd, config, err)
		}
		closeRun(t, r)
	}
}
