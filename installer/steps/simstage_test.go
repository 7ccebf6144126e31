package steps

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

const simRootfs = "/var/lib/sealos/data/default/rootfs"

// onAll is a step that does something on every host.
func onAll(name string, do func(ctx context.Context, r *Run, t *fleet.Target) (int, error)) Step {
	return Step{Name: name, Title: name, Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		n, err := r.Count(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) (int, error) { return do(ctx, r, t) })
		return installer.Result{Changes: n}, err
	}}
}

var (
	stageStep = onAll("stage", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
		n, _, err := r.dirs.Stage(ctx, t, r.RootfsDir())
		return n, err
	})
	switchStep = onAll("switch", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
		switched, err := r.dirs.Switch(ctx, t, r.RootfsDir())
		if switched {
			return 1, err
		}
		return 0, err
	})
	backStep = onAll("switch-back", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
		return 0, r.dirs.SwitchBack(ctx, t, r.RootfsDir())
	})
	forgetStep = onAll("forget", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
		return 0, r.dirs.ForgetStaged(ctx, t, r.RootfsDir())
	})
)

// withSteps are the first steps of an installation, and others behind them.
func withSteps(more ...Step) []Step { return slices.Concat(Install()[:3], more) }

// unnoted is a tree without what an installer notes of a directory of images, and a registry of bundles.
func unnoted(tree map[string]string) map[string]string {
	tree = maps.Clone(tree)
	maps.DeleteFunc(tree, func(name, _ string) bool {
		return strings.HasSuffix(name, "/.layers/note") || filepath.Base(filepath.Dir(name)) == "bundles"
	})
	return tree
}

// without is a tree without what lies below directories.
func without(tree map[string]string, dirs ...string) map[string]string {
	tree = unnoted(tree)
	maps.DeleteFunc(tree, func(name, _ string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
	})
	return tree
}

func journalOf(t *testing.T, m *stepstest.Machine) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(m.Root(), filepath.Dir(simRootfs), "journal/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = string(text)
	}
	return out
}

func mustRun(t *testing.T, w *world, pipeline []Step) int {
	t.Helper()
	changes, err := w.run(t.Context(), pipeline)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// overlaidDifferently are the images of the bundle after simBundle: one rendered file is dropped, another comes.
func overlaidDifferently() []stepstest.Image {
	images := otherImages()
	root := images[0].Files
	delete(root, "etc/site.conf.tmpl")
	root["etc/site.conf"] = "a plain file now\n"
	root["etc/new.conf.tmpl"] = "own={{ .SEALOS_SYS_HOST_IP }}\n"
	return images
}

// TestStagedRootfsIsWholeAndChangesNothingInUse stages B on hosts that run A, switches, and installs B as a plain run does.
func TestStagedRootfsIsWholeAndChangesNothingInUse(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, overlaidDifferently())
	_, plain := treeAfter(t, unpackedOnly(), a, b)
	w, before := treeAfter(t, unpackedOnly(), a)
	marks := journalOf(t, w.Machines()[1])
	w.bundle = b
	if changes := mustRun(t, w, withSteps(stageStep)); changes == 0 {
		t.Error("nothing was staged")
	}
	if changes := mustRun(t, w, withSteps(stageStep)); changes != 0 {
		t.Errorf("staging again: %d changes", changes)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(without(before[i]), without(tree, simRootfs+".next")); len(diff) > 0 {
			t.Errorf("host %d, staged:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
	if diff := cmp.Diff(marks, journalOf(t, w.Machines()[1])); diff != "" {
		t.Errorf("marks, staged (-want +got):\n%s", diff)
	}
	if changes := mustRun(t, w, withSteps(stageStep, switchStep)); changes != 2 {
		t.Errorf("switching two hosts: %d changes", changes)
	}
	// Nothing of the rootfs is left for the steps of an installation.
	w.Arm(nil)
	mustRun(t, w, unpackedOnly())
	for _, e := range w.Trace() {
		if e.Kind == string(agenttest.After) && strings.HasPrefix(e.What, simRootfs) {
			t.Errorf("a plain run afterwards: %s", e)
		}
	}
	for i, tree := range w.trees(t) {
		if diff := differences(without(plain[i]), without(tree, simRootfs+".before")); len(diff) > 0 {
			t.Errorf("host %d, switched:\n%s", i+1, strings.Join(diff, "\n"))
		}
		kept := map[string]string{}
		for name, what := range tree {
			if rest, ok := strings.CutPrefix(name, simRootfs+".before/"); ok && !strings.HasPrefix(rest, ".layers/") {
				kept[simRootfs+"/"+rest] = what
			}
		}
		was := map[string]string{}
		for name, what := range before[i] {
			if strings.HasPrefix(name, simRootfs+"/") && !strings.HasPrefix(name, simRootfs+"/.layers/") {
				was[name] = what
			}
		}
		if diff := cmp.Diff(was, kept); diff != "" {
			t.Errorf("host %d, kept (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestSwitchedBackAHostIsWhatItWas does so after scripts have set the host up with the new images.
func TestSwitchedBackAHostIsWhatItWas(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, overlaidDifferently())
	started := Install()[:6]
	w, before := treeAfter(t, started, a)
	marks := journalOf(t, w.Machines()[0])
	w.bundle = b
	mustRun(t, w, slices.Concat(withSteps(stageStep, switchStep), started[3:]))
	mustRun(t, w, withSteps(backStep))
	after := journalOf(t, w.Machines()[0])
	for _, mark := range []string{journal.Images, journal.Overlaid, journal.Init, journal.Registry} {
		want := marks[mark]
		if mark == journal.Init || mark == journal.Registry {
			want = "" // to be done again with what came back
		}
		if mark == journal.Overlaid { // that of the application is B's until an installation of A
			want = after[mark]
			if !strings.Contains(want, simRootfs+"/etc/site.conf") || strings.Contains(want, "new.conf") {
				t.Errorf("overlaid are %q", want)
			}
		}
		if after[mark] != want {
			t.Errorf("mark %s says %q, want %q", mark, after[mark], want)
		}
	}
	mustRun(t, w, withSteps(backStep)) // a second call finds nothing to do
	// For another try nothing is sent again.
	w.Arm(nil)
	mustRun(t, w, withSteps(stageStep))
	for _, e := range w.Trace() {
		if strings.HasPrefix(e.What, simRootfs+".next/bin/") {
			t.Errorf("staged for another try: %s", e)
		}
	}
	// The old installer finds its host.
	w.bundle = a
	mustRun(t, w, started)
	for i, tree := range w.trees(t) {
		if diff := differences(unnoted(before[i]), unnoted(tree)); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
	if diff := cmp.Diff(marks, journalOf(t, w.Machines()[0])); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	if changes := mustRun(t, w, started); changes != 0 {
		t.Errorf("a further run: %d changes", changes)
	}
}

// TestSwitchWaitsUntilAllIsStaged wants another rendered file than the one that was staged.
func TestSwitchWaitsUntilAllIsStaged(t *testing.T) {
	w, _ := treeAfter(t, unpackedOnly(), simBundle(t))
	w.bundle = bundleOf(t, overlaidDifferently())
	if _, err := w.run(t.Context(), withSteps(switchStep)); err == nil {
		t.Error("nothing was staged, and it was switched")
	}
	configs := []installer.Config{{Name: "of the site", Path: "etc/new.conf", Data: "of the site\n"}, {Name: "changes a program", Path: "bin/other", Data: "of the site\n"}}
	w.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: w.hosts(), Configs: configs} }
	mustRun(t, w, withSteps(stageStep))
	configs = configs[:1]
	if _, err := w.run(t.Context(), withSteps(switchStep)); err == nil {
		t.Error("other files were staged than are wanted now, and it was switched")
	}
	mustRun(t, w, withSteps(stageStep, switchStep))
	for name, want := range map[string]string{"etc/new.conf": "of the site\n", "bin/other": "another program\n", "etc/site.conf": "a plain file now\n"} {
		if got, err := os.ReadFile(filepath.Join(w.Machines()[0].Root(), simRootfs, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
}

// TestAPlainRunAfterAnUpgradeThatWasGivenUp goes on with the old bundle, with everything staged and with a switch that was cut off.
func TestAPlainRunAfterAnUpgradeThatWasGivenUp(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, overlaidDifferently())
	w, before := treeAfter(t, unpackedOnly(), a)
	for _, cut := range []string{"", "before"} {
		w.bundle = b
		mustRun(t, w, withSteps(stageStep))
		if cut != "" {
			w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: cut, What: simRootfs, N: 1}})
			if _, err := w.run(t.Context(), withSteps(switchStep)); err == nil {
				t.Fatal("nobody was killed: this test sees nothing")
			}
			w.Arm(nil)
		}
		w.bundle = a
		mustRun(t, w, unpackedOnly())
		for i, tree := range w.trees(t) {
			if diff := differences(before[i], without(tree, simRootfs+".before")); len(diff) > 0 {
				t.Errorf("cut %q, host %d:\n%s", cut, i+1, strings.Join(diff, "\n"))
			}
		}
		if changes := mustRun(t, w, unpackedOnly()); changes != 0 {
			t.Errorf("cut %q, a further run: %d changes", cut, changes)
		}
	}
}

func TestResetAfterAnUpgradeThatWasCutOffLeavesNothing(t *testing.T) {
	begin := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	empty := begin.trees(t)
	mustRun(t, begin, Install()[:6])
	begin.bundle = bundleOf(t, overlaidDifferently())
	for _, list := range [][]Step{withSteps(stageStep), withSteps(stageStep, switchStep), withSteps(stageStep, switchStep, backStep)} {
		w := begin.clone(t, memoryDir(t))
		mustRun(t, w, list)
		mustRun(t, w, Reset())
		for i, tree := range w.trees(t) {
			if diff := differences(empty[i], tree); len(diff) > 0 {
				t.Errorf("%s, host %d:\n%s", list[len(list)-1].Name, i+1, strings.Join(diff, "\n"))
			}
		}
		if bad := w.Gone(); len(bad) > 0 {
			t.Errorf("%s: %v", list[len(list)-1].Name, bad)
		}
	}
}

// TestSwitchThatKeepsSurvivesEveryFault lets a fault happen while a host is staged and switched, or switched back, and then goes on
// or back.
func TestSwitchThatKeepsSurvivesEveryFault(t *testing.T) {
	a, b := simBundle(t), bundleOf(t, overlaidDifferently())
	forth, back := withSteps(stageStep, switchStep), withSteps(backStep, forgetStep)
	old, _ := treeAfter(t, unpackedOnly(), a)
	old.bundle = b
	// Once there and back, so that what is noted of the old images is there in every world.
	mustRun(t, old, forth)
	mustRun(t, old, back)
	made := map[string][]map[string]string{"back": old.trees(t)}
	upgraded := old.clone(t, memoryDir(t))
	mustRun(t, upgraded, forth)
	made["forth"] = upgraded.trees(t)
	for name, x := range map[string]struct {
		begin          *world
		pipeline, then []Step
		made           string
		turns          bool
	}{
		"forth, and on":   {old, forth, forth, "forth", false},
		"forth, and back": {old, forth, back, "back", true},
		"back, and on":    {upgraded, back, back, "back", false},
		"back, and forth": {upgraded, back, forth, "forth", true},
	} {
		t.Run(name, func(t *testing.T) {
			k := &killTest{
				begin: x.begin, pipeline: x.pipeline, then: x.then, made: made[x.made], turns: x.turns, again: true,
				sound: func(w *world) []string { return w.Violations() },
			}
			w := x.begin.clone(t, memoryDir(t))
			w.Arm(nil)
			mustRun(t, w, x.pipeline)
			var list []*stepstest.Fault
			for n, e := range w.Trace() {
				beside := strings.HasPrefix(e.What, simRootfs) && !strings.Contains(strings.TrimPrefix(e.What, simRootfs), "/")
				switching := beside || strings.Contains(e.What, "/.layers/") || strings.Contains(e.What, "/journal/")
				if !everyFault() && (!switching || e.Kind == string(agenttest.Staged)) {
					continue
				}
				for i, kind := range []stepstest.FaultKind{stepstest.InstallerDies, stepstest.AgentDies, stepstest.PowerCut} {
					if everyFault() || n%3 == i { // the kinds take turns
						list = append(list, &stepstest.Fault{Kind: kind, At: e})
					}
				}
			}
			k.all(t, append(list, randomFaults(t, w.Trace(), 10, 600)...))
		})
	}
}

// TestPrepareRunsInTheStagedRootfsOfImagesThatHaveIt runs it beside a rootfs in use that has no such script.
func TestPrepareRunsInTheStagedRootfsOfImagesThatHaveIt(t *testing.T) {
	prepareStep := onAll("prepare", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
		ran, err := r.dirs.Prepare(ctx, t, "stage")
		if ran {
			return 1, err
		}
		return 0, err
	})
	for label, want := range map[string]int{"prepare.sh": 2, "": 0} { // a file of that name, without the label, is nobody's business
		w, _ := treeAfter(t, unpackedOnly(), simBundle(t))
		images := overlaidDifferently()
		images[0].Files["scripts/prepare.sh"] = "echo prepare\n"
		if label != "" {
			images[0].Config.Labels["prepare"] = label
		}
		w.bundle = bundleOf(t, images)
		if _, err := w.run(t.Context(), withSteps(prepareStep)); (err != nil) != (label != "") {
			t.Errorf("label %q, where nothing is staged: %v", label, err)
		}
		mustRun(t, w, withSteps(stageStep))
		if ran := mustRun(t, w, withSteps(prepareStep)); ran != want {
			t.Errorf("label %q: it ran on %d hosts, want %d", label, ran, want)
		}
		mustRun(t, w, withSteps(switchStep))
		if ran := mustRun(t, w, withSteps(prepareStep)); ran != 0 {
			t.Errorf("label %q: it ran on %d hosts after the switch", label, ran)
		}
	}
}
