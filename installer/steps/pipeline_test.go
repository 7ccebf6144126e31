package steps

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// The tests of this file run the real steps over a real ssh connection, with
// the test binary as what runs on the host. See apart.

// sshHost starts an ssh server at an address that this machine does not take for its own. Its start-up files print text
// that looks like answers and has no newline at its end.
func sshHost(t *testing.T, ip, password string, master bool) installer.Host {
	t.Helper()
	s := hosttest.StartServer(t, hosttest.ServerConfig{Listen: ip + ":0", Password: password, StartUp: noisy})
	return hostAt(ip, s.Port, master)
}

// mustCheck runs the check step. It skips the test if no cluster could be installed on this machine.
func mustCheck(t *testing.T, r *Run) {
	t.Helper()
	err := inEngine(t.Context(), r, (*Run).check)
	var pre *preflight.Error
	if errors.As(err, &pre) && !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool { return p.Check == "connect" || p.Check == "check.sh" }) {
		t.Skipf("this machine is not fit for a cluster: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// left lists what is below /var/lib, which was empty before.
func left(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("/var/lib", func(path string, _ fs.DirEntry, err error) error {
		if path != "/var/lib" {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustLeaveNothing(t *testing.T) {
	t.Helper()
	if files := left(t); len(files) > 0 {
		t.Errorf("left on the host: %s", strings.Join(files, " "))
	}
}

func TestEveryHostOutOfReachIsToldAtOnceAndTheOthersAreLeftClean(t *testing.T) {
	if !apart(t) {
		return
	}
	r := newRun(
		t, makeBundle(t, stepstest.Cluster()), t.Output(),
		sshHost(t, "127.0.0.2", "right", true), sshHost(t, "127.0.0.3", "wrong", false), hostAt("127.0.0.4", 1, false),
	)
	err := inEngine(t.Context(), r, (*Run).check)
	var pre *preflight.Error
	if !errors.As(err, &pre) {
		t.Fatalf("check = %v", err)
	}
	connect := map[string]string{}
	for _, p := range pre.Problems {
		if p.Check == "connect" {
			connect[p.Host] = p.Message
			if p.Remedy == "" {
				t.Errorf("no remedy: %+v", p)
			}
		}
	}
	if len(connect) != 2 || !strings.Contains(connect["127.0.0.3"], "login refused") || !strings.Contains(connect["127.0.0.4"], "unreachable") {
		t.Errorf("hosts out of reach: %v", connect)
	}
	if r.Targets[0].Facts.Hostname != "host-a" {
		t.Error("the host within reach was not looked at")
	}
	mustLeaveNothing(t)
	if err := r.Ledger.Record(t.Context(), err, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.State.Path(ledger.ClusterfileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run that changed no host is recorded: %v", err)
	}
}

func TestCheckScriptThatFailsIsAProblemOfItsHost(t *testing.T) {
	if !apart(t) {
		return
	}
	images := stepstest.Cluster()
	images[0].Files["scripts/check.sh"] = "echo the firewall is on; echo and the disk is slow >&2; exit 4\n"
	r := newRun(t, makeBundle(t, images), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	err := inEngine(t.Context(), r, (*Run).check)
	var pre *preflight.Error
	if !errors.As(err, &pre) {
		t.Fatalf("check = %v", err)
	}
	i := slices.IndexFunc(pre.Problems, func(p preflight.Problem) bool { return p.Check == "check.sh" })
	if i < 0 {
		t.Skipf("this machine is not fit for a cluster: %v", err)
	}
	if got := pre.Problems[i].Message; got != "the image's check script fails: the firewall is on / and the disk is slow" {
		t.Errorf("message %q", got)
	}
	mustLeaveNothing(t)
}

func TestDamagedBundleLeavesNothingOnHosts(t *testing.T) {
	if !apart(t) {
		return
	}
	file := makeBundle(t, stepstest.Cluster())
	b, err := bundle.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	// The last one stored is the layer of the last image, which is read for the registry, later.
	blobs := slices.DeleteFunc(b.Blobs(), func(b bundle.BlobInfo) bool { return !b.Stored })
	if len(blobs) < 2 {
		t.Fatal("the bundle has no stored layer of a container image")
	}
	last := blobs[len(blobs)-1]
	file[last.Offset+last.StoredSize-3] ^= 1
	r := newRun(t, file, t.Output(), sshHost(t, "127.0.0.2", "right", true))
	mustCheck(t, r)
	err = inEngine(t.Context(), r, (*Run).openBundle)
	if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "copy the file again") {
		t.Fatalf("open-bundle = %v", err)
	}
	mustLeaveNothing(t)
}

func TestInterruptedBeforeAnyChangeTakesTheStubAway(t *testing.T) {
	if !apart(t) {
		return
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	mustCheck(t, r)
	if !slices.Contains(left(t), r.Master0().Stub) {
		t.Fatal("check left no stub: this test sees nothing")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(installer.ErrInterrupted)
	r.verified = make(chan error) // never ready
	if err := inEngine(ctx, r, (*Run).openBundle); !errors.Is(err, installer.ErrInterrupted) {
		t.Errorf("open-bundle = %v", err)
	}
	mustLeaveNothing(t)
}

func TestInterruptedBetweenStepsTakesTheStubAway(t *testing.T) {
	if !apart(t) {
		return
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	mustCheck(t, r)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(installer.ErrInterrupted)
	_, err := installer.RunSteps(ctx, Install()[1:], r, r.Report)
	if !errors.Is(err, installer.ErrInterrupted) {
		t.Errorf("run = %v", err)
	}
	if err := r.Ledger.Record(ctx, err, 0); err != nil {
		t.Error(err)
	}
	mustLeaveNothing(t)
}

func TestImagesAndRegistryReachTheHostOnce(t *testing.T) {
	if !apart(t) {
		return
	}
	file := makeBundle(t, stepstest.Cluster())
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	pipeline := []Step{}
	for _, s := range Install() {
		if s.Name == "bootstrap" {
			break
		}
		pipeline = append(pipeline, s)
	}
	install := func() (int, *Run) {
		r := newRun(t, file, t.Output(), master)
		mustCheck(t, r)
		timings, err := installer.RunSteps(t.Context(), pipeline[1:], r, r.Report)
		if err != nil {
			t.Fatal(err)
		}
		return installer.Changes(timings), r
	}
	changes, r := install()
	if changes == 0 {
		t.Error("the first run changed nothing")
	}
	for name, want := range map[string]string{
		r.RootfsDir() + "/bin/tool":         "a program\n",
		r.RootfsDir() + "/etc/site.conf":    "domain=sealos.hub own=127.0.0.2\n",
		r.RootfsDir() + "/scripts/check.sh": stepstest.Cluster()[0].Files["scripts/check.sh"],
		r.Dir("applications", payload.DirName("localhost/app:v1"), "workdir/manifests/app.yaml"): "kind: List\n",
	} {
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			t.Errorf("%s holds %q, %v; want %q", name, data, err, want)
		}
	}
	if info, err := os.Stat(r.RootfsDir() + "/bin/tool"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("bin/tool: %v, %v", info, err)
	}
	for _, name := range []string{r.RootfsDir() + "/registry", r.Dir("check")} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is on the host: %v", name, err)
		}
	}
	const repositories = "/var/lib/registry/docker/registry/v2/repositories/"
	for _, tag := range []string{"registry.k8s.io/pause/_manifests/tags/3.10.2", "sealbuild.io/care/_manifests/tags/v1"} {
		if _, err := os.Stat(repositories + tag + "/current/link"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(repositories + "localhost"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cluster images are in the registry: %v", err)
	}
	before := left(t)
	closeRun(t, r)
	if changes, _ := install(); changes != 0 {
		t.Errorf("the second run made %d changes", changes)
	}
	if diff := cmp.Diff(before, left(t)); diff != "" {
		t.Errorf("files after the second run (-before +after):\n%s", diff)
	}
}

func TestTitlesOfStepsFitATableOf80Columns(t *testing.T) {
	for _, list := range [][]Step{
		Install(), Delete(), Apply(), Upgrade(), Rollback(), PlanReset(), Reset(), Certificates(true, []string{"all"}, nil), PlanCertificates([]string{"all"}),
	} {
		for _, step := range list {
			if n := len(step.Title); n > 42 { // 80, less "[10/13] distribute-registry  " and "  59m59s"
				t.Errorf("step %s has a title of %d letters: %s", step.Name, n, step.Title)
			}
			if len(step.Name) > 20 {
				t.Errorf("step %s has a longer name than the table has room for", step.Name)
			}
		}
	}
}
