package steps

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// versions lists the stubs on a machine of the site, with the content of each.
func versions(t *testing.T, m *stepstest.Machine) map[string]string {
	t.Helper()
	dir := filepath.Join(m.Root(), filepath.Dir(installer.StubPath))
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = strings.TrimSpace(string(text))
	}
	return found
}

// withStub is a bundle with another stub.
func withStub(t *testing.T, stub string, images []stepstest.Image) []byte {
	t.Helper()
	var buf strings.Builder
	if err := stepstest.Write(&buf, []byte(stub+"\n"), images); err != nil {
		t.Fatal(err)
	}
	return []byte(buf.String())
}

func name(stub string) string { return filepath.Base(versionOf(stub + "\n")) }

// statusOnly asks every host and changes none.
func statusOnly() []Step { return AskStatus(0, 0, func(status.Status) error { return nil }) }

func TestRunsThatChangeNothingReplaceNoInstaller(t *testing.T) {
	ours, other := withStub(t, "ours", simImages()), withStub(t, "another", simImages())
	refused := simImages()
	refused[0].Files["etc/bad.tmpl"] = "{{ .no.such.key }}\n"
	damaged := withStub(t, "another", refused)
	w := newWorld(t, memoryDir(t), ours, 1, 1)
	before := w.trees(t)
	for what, run := range map[string]struct {
		bundle   []byte
		pipeline []Step
	}{
		"status": {other, statusOnly()}, "a refused run": {damaged, Install()},
		"a list of certificates": {other, Certificates(false, nil, func([]HostCertificates) {})},
	} {
		t.Run("on fresh hosts: "+what, func(t *testing.T) {
			w := w.clone(t, memoryDir(t))
			w.bundle = run.bundle
			_, _ = w.run(t.Context(), run.pipeline) // it may be refused
			for i, tree := range w.trees(t) {
				if diff := differences(before[i], tree); len(diff) > 0 {
					t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
				}
			}
		})
	}
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	made := w.trees(t)
	for what, run := range map[string]struct {
		bundle   []byte
		pipeline []Step
	}{
		"status": {other, statusOnly()}, "a refused run": {damaged, Install()},
		"a list of certificates": {other, Certificates(false, nil, func([]HostCertificates) {})},
	} {
		t.Run("on a cluster: "+what, func(t *testing.T) {
			w := w.clone(t, memoryDir(t))
			w.bundle = run.bundle
			_, _ = w.run(t.Context(), run.pipeline)
			for i, tree := range w.trees(t) {
				if diff := differences(made[i], tree); len(diff) > 0 {
					t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
				}
			}
		})
	}
}

func TestRunThatChangesHostsPutsItsInstallerIntoUse(t *testing.T) {
	w := newWorld(t, memoryDir(t), withStub(t, "ours", simImages()), 1, 1)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.bundle = withStub(t, "another", simImages())
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		if diff := cmp.Diff(map[string]string{"sealinstall": "another", name("another"): "another"}, versions(t, m)); diff != "" {
			t.Error(diff)
		}
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a further run: %d changes, %v", changes, err)
	}
}

func TestInstallersOfKilledRunsGoWithTheNext(t *testing.T) {
	w := newWorld(t, memoryDir(t), withStub(t, "ours", simImages()), 1, 1)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	made := w.trees(t)
	w.bundle = withStub(t, "another", simImages())
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[0].IP, Kind: "answer", What: "facts", N: 1}})
	if _, err := w.run(t.Context(), Certificates(false, nil, func([]HostCertificates) {})); err == nil {
		t.Fatal("nobody was killed: this test sees nothing")
	}
	w.Arm(nil)
	if found := versions(t, w.Machines()[0]); found[name("another")] == "" {
		t.Fatalf("the killed run left nothing: %v", found)
	}
	w.bundle = withStub(t, "a third", simImages())
	if _, err := w.run(t.Context(), Certificates(false, nil, func([]HostCertificates) {})); err != nil {
		t.Fatal(err)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(made[i], tree); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
}

func TestHostOfAnotherArchitectureGetsNothing(t *testing.T) {
	images := stepstest.Cluster()
	fake := hosttest.NewFake(t, "127.0.0.2")
	fake.On([]string{"uname", "-m"}, hosttest.Answer{Stdout: "riscv64\n"})
	r := newRun(t, makeBundle(t, images), t.Output(), hostAt("127.0.0.2", 22, true))
	r.Dial = func(context.Context, *fleet.Target) (host.Host, error) { return fake, nil }
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	problems := r.Open(t.Context())
	if !slices.ContainsFunc(problems, func(p preflight.Problem) bool {
		return p.Check == "architecture" && strings.Contains(p.Message, "riscv64") && p.Remedy != ""
	}) {
		t.Errorf("problems: %+v", problems)
	}
	if calls := fake.Calls(); len(calls) != 1 {
		t.Errorf("it was asked for more than its architecture: %+v", calls)
	}
}

// TestProgramThatUnitsRunIsSwitchedInOneStep shows with real files what simulated hosts cannot: at no moment the name is
// missing, and a version that a process runs stays.
func TestProgramThatUnitsRunIsSwitchedInOneStep(t *testing.T) {
	if !apart(t) {
		return
	}
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	halfDone(t, makeBundle(t, stepstest.Cluster()), master, true)
	before, err := os.Stat(installer.StubPath)
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), master)
	mustCheck(t, r)
	own, err := os.Stat(r.Master0().Stub)
	if err != nil || !os.SameFile(before, own) {
		t.Errorf("the version in use and the name that units use are two files: %v", err)
	}
	closeRun(t, r)
	if now, err := os.Stat(installer.StubPath); err != nil || !os.SameFile(before, now) {
		t.Errorf("a run that went no further replaced %s: %v", installer.StubPath, err)
	}
}

func TestRunThatIsRefusedSinceAnotherIsAtWorkLeavesNothing(t *testing.T) {
	w := newWorld(t, memoryDir(t), withStub(t, "ours", simImages()), 1, 1)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	made := w.trees(t)
	first := w.newRun(t)
	if problems := first.Open(t.Context()); len(problems) > 0 {
		t.Fatal(problems)
	}
	for i, stub := range []string{"another", "ours"} { // the second is what the first run uses
		w.bundle = withStub(t, stub, simImages())
		second := w.newRun(t)
		problems := second.Open(t.Context())
		if !slices.ContainsFunc(problems, func(p preflight.Problem) bool { return p.Check == "lock" }) {
			t.Errorf("problems: %+v", problems)
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
		for n, tree := range w.trees(t) {
			if diff := slices.DeleteFunc(differences(made[n], tree), func(d string) bool { return strings.Contains(d, ".lock") }); len(diff) > 0 {
				t.Errorf("run %d, host %d:\n%s", i+2, n+1, strings.Join(diff, "\n"))
			}
		}
	}
	// The first one still works with what it brought.
	if _, err := first.Targets[1].Agent.ReadFiles(t.Context(), []string{"/etc/hostname"}); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

// newRun is a run on the site that has done nothing yet.
func (w *world) newRun(t *testing.T) *Run {
	t.Helper()
	b, err := bundle.Open(bytes.NewReader(w.bundle), int64(len(w.bundle)))
	if err != nil {
		t.Fatal(err)
	}
	c := &installer.Cluster{Hosts: w.hosts()}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	r := New(c, b, Options{State: &installer.State{Dir: w.dir}}, fleet.Options{
		Report: installer.NewReporter(io.Discard, io.Discard, false), Jobs: w.jobs, Timeout: w.timeout,
	})
	session := w.Start(func(error) {})
	r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) { return session.Dial(ctx, t.IP.String()) }
	if err := errors.Join(r.Read(t.Context())); err != nil {
		t.Fatal(err)
	}
	return r
}
