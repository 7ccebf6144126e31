package steps

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// halfDone is a host on which an installation ended before Kubernetes began: with its files, or with the first mark alone.
func halfDone(t *testing.T, file []byte, master installer.Host, files bool) {
	t.Helper()
	r := newRun(t, file, t.Output(), master)
	defer closeRun(t, r)
	mustCheck(t, r)
	if err := r.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files {
		if _, err := installer.RunSteps(t.Context(), Install()[1:5], r, r.Report); err != nil {
			t.Fatal(err)
		}
		if _, err := r.net.SetHosts(t.Context(), r.Targets[0], "127.0.0.2"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResetOfAHalfDoneHostLeavesItAsItWas(t *testing.T) {
	if !apart(t) {
		return
	}
	images := stepstest.Cluster()
	images[0].Files["scripts/clean.sh"] = "echo \"$SEALOS_SYS_HOST_IP\" >> /mnt/cleaned\n"
	images[0].Files["scripts/clean-registry.sh"] = "echo registry >> /mnt/cleaned; rm -rf \"$registryData\"\n"
	file := makeBundle(t, images)
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range []bool{true, false} {
		halfDone(t, file, master, files)
		if !slices.Contains(left(t), installer.DataRoot+"/data/default/journal/"+journal.Begun) {
			t.Fatal("nothing was done: this test sees nothing")
		}
		r := newRun(t, file, t.Output(), master)
		if _, err := installer.RunSteps(t.Context(), Reset(), r, r.Report); err != nil {
			t.Fatalf("with files %v: %v", files, err)
		}
		if err := r.Ledger.Forget(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.State.Path(ledger.ClusterfileName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the cluster is still recorded: %v", err)
		}
		closeRun(t, r)
		mustLeaveNothing(t)
		if now, err := os.ReadFile("/etc/hosts"); err != nil || string(now) != string(hosts) {
			t.Errorf("/etc/hosts, %v:\n%s", err, now)
		}
	}
	if log, err := os.ReadFile("/mnt/cleaned"); err != nil || string(log) != "127.0.0.2\nregistry\n" {
		t.Errorf("the clean scripts left %q, %v", log, err)
	}
}

func TestResetLeavesAHostOfAnotherClusterAlone(t *testing.T) {
	if !apart(t) {
		return
	}
	const foreign = "/etc/kubernetes/admin.conf"
	if err := os.MkdirAll("/etc/kubernetes", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	_, err := installer.RunSteps(t.Context(), Reset(), r, r.Report)
	if err == nil || !strings.Contains(err.Error(), "none of the hosts belongs to cluster default") {
		t.Errorf("reset = %v", err)
	}
	if data, err := os.ReadFile(foreign); err != nil || string(data) != "of somebody else" {
		t.Errorf("%s: %q, %v", foreign, data, err)
	}
	mustLeaveNothing(t)
}

func TestCutOffInstallationGoesOnAndIsNoProblemOfItsHost(t *testing.T) {
	if !apart(t) {
		return
	}
	file := makeBundle(t, stepstest.Cluster())
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	halfDone(t, file, master, true)
	// Units that an earlier run may have started.
	if err := os.MkdirAll("/etc/kubernetes/manifests", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/kubernetes/kubelet.conf", []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRun(t, file, t.Output(), master)
	if _, err := r.check(t.Context()); err != nil {
		t.Errorf("the next run = %v", err)
	}
	text, c := recorded(t, r)
	if !strings.Contains(text, "phase: "+installer.PhaseInProcess) || len(c.Hosts) != 1 {
		t.Errorf("recorded:\n%s", text)
	}
	// If damage is found later, what is the cluster's must stay.
	if err := r.Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
	if !slices.Contains(left(t), installer.StubPath) {
		t.Error("the stub of a host that was begun is gone")
	}
}
