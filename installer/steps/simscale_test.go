package steps

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/test/detector"
)

// siteLatency is how long things take on hosts: a fraction of what they take on the testbed, where kubeadm needs 8 s to
// begin, 26 s for a further master and 2 s for a worker, and a script about 4 s.
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

// orchestrate installs a cluster of three masters and else workers. It gives how long that took, and the most memory that
// this process had, the simulated hosts included.
func orchestrate(t testing.TB, hosts int, latency func(what string) time.Duration) (took time.Duration, peak uint64) {
	t.Helper()
	dir := memoryDir(t)
	w := newWorld(t, dir, simBundle(t), 3, hosts-3)
	w.jobs, w.timeout = 50, time.Minute
	w.Latency = latency
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

// crowd counts what hosts are asked, and holds calls of some scripts until as many as are wanted run at once.
type crowd struct {
	calls atomic.Int64
	held  atomic.Int64
	want  int64
	here  chan struct{}
}

func (c *crowd) latency(what string) time.Duration {
	c.calls.Add(1)
	if strings.HasPrefix(what, "script init") && !strings.Contains(what, "registry") { // that of every host
		if c.held.Add(1) == c.want {
			close(c.here)
		}
		select {
		case <-c.here:
		case <-time.After(2 * time.Minute): // no other call comes: the steps fail, or the test counts too few
		}
	}
	return 0
}

// A host more costs its own calls and no others, hosts are worked on side by side, and all of it fits into little memory. The
// memory is that of 200 hosts too, as everything runs in this process; how long it takes is what the benchmark measures.
func TestTwoHundredHostsAreOrchestratedInLittleMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // the setting of a run, not that of the tests
	few, many := &crowd{want: 20, here: make(chan struct{})}, &crowd{want: 50, here: make(chan struct{})}
	all := 200
	if detector.On { // all of them without the detector (make unit)
		all = 60
	}
	orchestrate(t, 20, few.latency)
	_, peak := orchestrate(t, all, many.latency)
	t.Logf("20 hosts %d calls, %d hosts %d calls, %d MiB", few.calls.Load(), all, many.calls.Load(), peak>>20)
	if peak > 256<<20 {
		t.Errorf("%d MiB of memory, want at most 256", peak>>20)
	}
	for hosts, c := range map[int]*crowd{20: few, all: many} {
		select {
		case <-c.here:
		default:
			t.Errorf("%d of %d hosts: fewer than %d were worked on at once", c.held.Load(), hosts, c.want)
		}
	}
	if each, before := many.calls.Load()/int64(all), few.calls.Load()/20; each > before {
		t.Errorf("%d calls for each of %d hosts, %d for each of 20", each, all, before)
	}
}

func TestAnAnswerThatWasCutIsNotTakenForWhole(t *testing.T) {
	if detector.On {
		t.Skip("8 MiB of JSON are taken without the detector (make unit)")
	}
	w := installed(t, 1, 1)
	w.Crowd(5000)
	r := w.looker(t, t.Context(), io.Discard)
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := r.Open(t.Context()); len(p) > 0 {
		t.Fatal(p)
	}
	if _, err := r.Kube.Kubectl(t.Context(), "get", "nodes", "-o", "json"); err == nil || !strings.Contains(err.Error(), "8 MiB") {
		t.Errorf("error: %v", err)
	}
}

func BenchmarkOrchestration(b *testing.B) {
	for _, hosts := range []int{20, 200} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			for b.Loop() {
				took, peak := orchestrate(b, hosts, siteLatency(0.1))
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
	// From another control machine, which knows nothing of the cluster.
	second := &world{Site: w.Site, dir: filepath.Join(dir, "second"), bundle: w.bundle, masters: 3, jobs: 4, timeout: time.Second}
	if err := os.Mkdir(second.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := second.run(t.Context(), Install())
	close(release)
	var pre *preflight.Error
	if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool {
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

func TestFiveThousandNodesAreAskedFor(t *testing.T) {
	crowd := 5000
	if detector.On {
		crowd = 500 // the simulation makes lists of all of them, and make unit runs this whole without the detector, too
	}
	w := installed(t, 1, 1)
	w.timeout = 2 * time.Minute // lists of this size take the simulation a while
	w.Crowd(crowd)
	r := w.looker(t, t.Context(), io.Discard)
	s, err := (&status.Room{Site: r.Site, State: r.State, Within: w.timeout}).Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustSay(t, s, true)
	if len(s.Warnings) != crowd {
		t.Errorf("%d nodes are told of that were not asked", len(s.Warnings))
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a run: %d changes, %v", changes, err)
	}
}
