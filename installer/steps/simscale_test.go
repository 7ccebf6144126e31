package steps

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// siteLatency is how long things take on hosts: a part of what they take on the testbed, where kubeadm needs 8 s to begin,
// 26 s for a further master and 2 s for a node, and a script about 4 s.
func siteLatency(part float64) func(what string) time.Duration {
	return func(what string) time.Duration {
		seconds := 0.05 // a call: an ssh channel and the start of the stub
		switch {
		case what == "kubeadm init":
			seconds = 8
		case what == "kubeadm join master":
			seconds = 26
		case what == "kubeadm join node":
			seconds = 2
		case strings.HasPrefix(what, "script init"):
			seconds = 4
		}
		return time.Duration(seconds * part * float64(time.Second))
	}
}

// orchestrate installs a cluster of three masters and otherwise nodes, and gives how long that took and the most memory
// that this process had at a time: the simulated hosts with all they do are a part of it.
func orchestrate(t testing.TB, hosts int, part float64) (took time.Duration, peak uint64) {
	t.Helper()
	dir := memoryDir(t)
	w := newWorld(t, dir, simBundle(t), 3, hosts-3)
	w.jobs, w.timeout = 50, time.Minute
	w.Latency = siteLatency(part)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64()-sample[1].Value.Uint64())
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	start := time.Now()
	_, err := w.run(t.Context(), Install())
	took = time.Since(start)
	close(stop)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if bad := append(w.Unsound(3), w.repeated()...); len(bad) > 0 {
		t.Errorf("%d hosts:\n%s", hosts, strings.Join(bad, "\n"))
	}
	return took, peak
}

// The bounds are wide, as everything of 200 hosts runs in this process, maybe under the race detector and beside other
// tests; the benchmark measures.
func TestTwoHundredHostsAreOrchestratedInLittleMemory(t *testing.T) {
	few, _ := orchestrate(t, 20, 0.02)
	many, peak := orchestrate(t, 200, 0.02)
	t.Logf("20 hosts %s, 200 hosts %s, %d MiB", few, many, peak>>20)
	if peak > 256<<20 {
		t.Errorf("%d MiB of memory, want at most 256", peak>>20)
	}
	if many > 15*few {
		t.Errorf("200 hosts take %s, 20 hosts %s", many, few)
	}
}

func BenchmarkOrchestration(b *testing.B) {
	for _, hosts := range []int{20, 200} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			for b.Loop() {
				took, peak := orchestrate(b, hosts, 0.1)
				b.ReportMetric(took.Seconds(), "s/install")
				b.ReportMetric(float64(peak>>20), "MiB")
			}
		})
	}
}

func TestSecondInstallerOnSimulatedHostsIsRefusedAndTheFirstGoesOn(t *testing.T) {
	dir := memoryDir(t)
	w := newWorld(t, dir, simBundle(t), 3, 2)
	started, release := make(chan struct{}), make(chan struct{})
	w.Latency = func(what string) time.Duration {
		if what == "kubeadm init" {
			close(started)
			<-release
		}
		return 0
	}
	w.timeout = time.Minute
	first := make(chan error, 1)
	go func() {
		_, err := w.run(t.Context(), Install())
		first <- err
	}()
	select {
	case <-started:
	case err := <-first:
		t.Fatalf("the first ended early: %v", err)
	}
	// From another machine, which knows nothing of the cluster.
	second := &world{Site: w.Site, dir: filepath.Join(dir, "second"), bundle: w.bundle, masters: 3, jobs: 4, timeout: time.Second}
	if err := os.Mkdir(second.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := second.run(t.Context(), Install())
	close(release)
	var pre *PreflightError
	if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, func(p Problem) bool {
		return p.Check == "lock" && strings.Contains(p.Message, fmt.Sprintf("(process %d on ", os.Getpid()))
	}) {
		t.Errorf("the second is told %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if bad := append(w.Unsound(3), w.repeated()...); len(bad) > 0 {
		t.Error(strings.Join(bad, "\n"))
	}
}

func TestLockOfAKilledInstallerIsTakenOver(t *testing.T) {
	const variable = "STEPS_TEST_HOLDS_LOCK"
	if os.Getenv(variable) != "" {
		if _, err := installer.OpenState("c"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		select {} // until it is killed
	}
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(self, "-test.run=^"+t.Name()+"$")
	holder.Env = append(os.Environ(), variable+"=1")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("(process %d on ", holder.Process.Pid)
	_, readErr := io.ReadFull(out, make([]byte, len("locked")))
	_, held := installer.OpenState("c")
	if err := errors.Join(readErr, holder.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // it was killed
	if held == nil || !strings.Contains(held.Error(), name) {
		t.Errorf("the second is told %v, want %q in it", held, name)
	}
	state, err := installer.OpenState("c")
	if err != nil {
		t.Fatalf("after the first was killed: %v", err)
	}
	if text, err := os.ReadFile(state.Path("lock")); err != nil || !strings.HasPrefix(string(text), fmt.Sprintf("process %d on ", os.Getpid())) {
		t.Errorf("the lock names %q, %v", text, err)
	}
	if err := state.Close(); err != nil {
		t.Error(err)
	}
}
