package steps

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// unwell is a workload of the cluster itself with one pod that does not start, and kubelet's reason for that.
func unwell(w *world) {
	w.Add("workloads", map[string]any{
		"kind": "Deployment", "metadata": map[string]any{"namespace": "kube-system", "name": "coredns", "generation": 1},
		"spec":   map[string]any{"replicas": 2, "selector": map[string]any{"matchLabels": map[string]any{"k8s-app": "kube-dns"}}},
		"status": map[string]any{"observedGeneration": 1},
	})
	for _, name := range []string{"coredns-1", "coredns-2"} {
		w.Add("pods", map[string]any{
			"metadata": map[string]any{"namespace": "kube-system", "name": name, "labels": map[string]any{"k8s-app": "kube-dns"}}, "spec": map[string]any{"nodeName": "host-2"},
			"status": map[string]any{"phase": "Pending", "containerStatuses": []any{map[string]any{
				"name": "coredns", "ready": false, "restartCount": 0, "state": map[string]any{"waiting": map[string]any{"reason": "ContainerCreating"}},
			}}},
		})
		for _, e := range [][2]string{{"2026-01-01T00:00:01Z", "an older one"}, {"2026-01-01T00:00:09Z", "open /run/systemd/resolve/resolv.conf: no such file or directory"}} {
			w.Add("events", map[string]any{
				"metadata": map[string]any{"namespace": "kube-system"}, "type": "Warning", "reason": "FailedCreatePodSandBox", "message": e[1], "lastTimestamp": e[0],
				"involvedObject": map[string]any{"name": name},
			})
		}
	}
}

// lookedAt is a run that has looked at its hosts. It takes the lock.
func lookedAt(t *testing.T, w *world, out io.Writer) *Run {
	t.Helper()
	r := w.looker(t, t.Context(), out)
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := r.Open(t.Context()); len(p) > 0 {
		t.Fatal(p)
	}
	return r
}

func TestWaitingThatWasInterruptedSaysSoAndHowLongItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		unwell(w)
		w.timeout = 10 * time.Minute
		var told strings.Builder
		r := lookedAt(t, w, &told)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(4*time.Minute, func() { cancel(installer.ErrInterrupted) })
		start := time.Now()
		err := r.health.WaitReady(ctx)
		if took := time.Since(start); took > 4*time.Minute+time.Second {
			t.Errorf("the interruption took %s", took-4*time.Minute)
		}
		var late *kube.NotReadyError
		if !errors.As(err, &late) || !errors.Is(err, kube.ErrNotReady) || !errors.Is(err, installer.ErrInterrupted) {
			t.Fatalf("error %v", err)
		}
		text := err.Error()
		for _, want := range []string{"not ready after 4m0s, when the waiting ended (interrupted by the operator)", "cause: kube-system/coredns-1, kube-system/coredns-2: FailedCreatePodSandBox: open /run/systemd/resolve/resolv.conf: no such file"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
		if strings.Contains(text, "10m") || strings.Contains(text, "older") {
			t.Errorf("error:\n%s", text)
		}
		if !strings.Contains(told.String(), "still waiting after 30s: kube-system/coredns-1, kube-system/coredns-2: FailedCreatePodSandBox") {
			t.Errorf("told meanwhile:\n%s", told.String())
		}
		r.Close()
	})
}

func TestWaitingThatTakesTooLongNamesTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		w.timeout = time.Minute
		r := lookedAt(t, w, io.Discard)
		w.Machines()[1].LoseRuntime()
		w.noticed(t)
		err := r.health.WaitReady(t.Context())
		for _, want := range []string{"not ready after 1m0s\n", "node host-2 (10.77.0.2) is not Ready", "cause: 10.77.0.2: kubelet does not run, the container runtime does not answer at "} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in:\n%v", want, err)
			}
		}
		r.Close()
	})
}

// hangs keeps a call to the site from ever being answered.
func hangs(w *world, what string) {
	w.Latency = func(asked string) time.Duration {
		if asked == what {
			return 24 * time.Hour
		}
		return 0
	}
}

func TestALockThatIsWaitedForEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		w.timeout = 10 * time.Minute
		hangs(w, "lock")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(installer.ErrInterrupted) })
		r := w.looker(t, ctx, io.Discard)
		start := time.Now()
		_, err := installer.RunSteps(ctx, Install(), r, r.Report)
		r.Close()
		if took := time.Since(start); took > 4*time.Second || !errors.Is(err, installer.ErrInterrupted) {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestAnAgentThatHangsIsNamedWithItsHost(t *testing.T) {
	for timeout, want := range map[time.Duration]string{10 * time.Minute: "the installer's agent on the host hangs: no answer for 20s", 5 * time.Second: "not to be had in 5s (--timeout)"} {
		synctest.Test(t, func(t *testing.T) {
			w := installed(t, 1, 1)
			w.timeout = timeout
			hangs(w, "lock")
			start := time.Now()
			_, err := w.run(t.Context(), Install())
			took := time.Since(start)
			var pre *preflight.Error
			if !errors.As(err, &pre) || took > min(timeout, 20*time.Second)+15*time.Second {
				t.Fatalf("after %s: %v", took, err)
			}
			found := false
			for _, p := range pre.Problems {
				found = found || p.Host == "10.77.0.1" && p.Check == "lock" && strings.Contains(p.Message, want)
			}
			if !found {
				t.Errorf("%q is not among %+v", want, pre.Problems)
			}
		})
	}
}

func TestHostsWithoutServicesAreWarnedOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
		w.timeout = 10 * time.Minute
		w.NoProxy()
		w.jobs = 1 // hosts that wait for each other wait for a mutex, during which the clock of the test stands still
		var told strings.Builder
		r := w.looker(t, t.Context(), &told)
		if _, err := installer.RunSteps(t.Context(), Install(), r, r.Report); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if n := strings.Count(told.String(), "Services may not work there yet"); n != 1 || !strings.Contains(told.String(), "warning: 10.77.0.1-10.77.0.3 (3 hosts): Services") {
			t.Errorf("%d warnings:\n%s", n, told.String())
		}
	})
}
