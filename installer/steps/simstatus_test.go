package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/status"
)

// looker is a run on the site that has not begun yet, to look at a cluster. What is reported goes to out.
func (w *world) looker(t testing.TB, ctx context.Context, out io.Writer, hosts ...installer.Host) *Run {
	t.Helper()
	session := w.Start(func(error) {})
	b, err := bundle.Open(bytes.NewReader(w.bundle), int64(len(w.bundle)))
	if err != nil {
		t.Fatal(err)
	}
	if len(hosts) == 0 {
		hosts = w.hosts()
	}
	c := &installer.Cluster{Hosts: hosts}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	r := New(c, b, Options{State: &installer.State{Dir: w.dir}}, fleet.Options{Report: installer.NewReporter(out, io.Discard, false), Jobs: w.jobs, Timeout: w.timeout})
	r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) { return session.Dial(ctx, t.IP.String()) }
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// status asks the site for its status.
func (w *world) status(t testing.TB, hosts ...installer.Host) status.Status {
	t.Helper()
	var s status.Status
	r := w.looker(t, t.Context(), io.Discard, hosts...)
	if _, err := installer.RunSteps(t.Context(), AskStatus(0, 0, func(found status.Status) error { s = found; return nil }), r, r.Report); err != nil {
		t.Fatal(err)
	}
	return s
}

// installed is a site with a cluster.
func installed(t testing.TB, masters, nodes int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), simBundle(t), masters, nodes)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	return w
}

// noticed waits until the cluster has noticed what has happened.
func (w *world) noticed(t testing.TB) {
	t.Helper()
	if err := w.Noticed(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func says(s status.Status, want string) bool {
	for _, p := range s.Problems {
		if strings.Contains(p.Host+": "+p.Message, want) {
			return true
		}
	}
	return slices.ContainsFunc(slices.Concat(s.Undone, s.Waiting, s.Causes, s.Warnings), func(line string) bool { return strings.Contains(line, want) })
}

func mustSay(t *testing.T, s status.Status, ready bool, want ...string) {
	t.Helper()
	if s.Ready != ready {
		t.Errorf("ready: %t", s.Ready)
	}
	for _, text := range want {
		if !says(s, text) {
			t.Errorf("%q is not told", text)
		}
	}
	if t.Failed() {
		t.Logf("status: %+v", s)
	}
}

func TestStatusOfAWholeClusterIsReady(t *testing.T) {
	w := installed(t, 3, 2)
	before := w.trees(t)
	mustSay(t, w.status(t), true)
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("asking changed host %d: %s", i, strings.Join(diff, ", "))
		}
	}
}

func TestStatusGoesThroughAnyMasterWhenTheFirstIsDead(t *testing.T) {
	w := installed(t, 3, 1)
	w.Machines()[0].PowerOff()
	w.noticed(t)
	s := w.status(t)
	mustSay(t, s, false, "10.77.0.1: host is unreachable", "node host-1 (10.77.0.1) is not Ready")
	if s.Hosts[0].Reached || s.Hosts[0].Hostname != "host-1" || !s.Hosts[1].Joined {
		t.Errorf("hosts: %+v", s.Hosts)
	}
	if len(s.Waiting) != 1 {
		t.Errorf("what runs on the dead host is told of besides: %q", s.Waiting)
	}
}

func TestStatusTellsThatEtcdHasNoMajority(t *testing.T) {
	w := installed(t, 3, 1)
	w.Machines()[0].PowerOff()
	w.Machines()[2].PowerOff()
	mustSay(t, w.status(t), false, "etcd has no majority: 1 of 3 masters are reached, and 2 are needed; not reached, or not named: 10.77.0.1,10.77.0.3")
}

func TestWhatKeepsTheControlPlaneDownIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 3, 1)
		w.timeout = time.Minute
		for _, m := range w.Machines()[:2] {
			m.EndContainer("etcd", "starting\n\x1b[31mpanic:\x1b[0m wal: crc mismatch\n")
		}
		const cause = "10.77.0.1-10.77.0.2: container etcd has ended and says: panic: wal: crc mismatch"
		mustSay(t, w.status(t), false, "the cluster does not answer, or etcd has no majority: 3 of 3 masters are reached", cause)
		_, err := w.run(t.Context(), Install())
		var pre *preflight.Error
		if !errors.As(err, &pre) || len(pre.Problems) != 1 || pre.Problems[0].Check != "cluster" || !strings.Contains(pre.Problems[0].Message, cause) {
			t.Errorf("a run is told %v", err)
		}
	})
}

func TestACertificateThatHasEndedIsNamedAsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		w.timeout = time.Minute
		time.Sleep(101 * 365 * 24 * time.Hour)
		w.Silence(24 * time.Hour)
		_, err := w.run(t.Context(), Install())
		var pre *preflight.Error
		if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool {
			return p.Check == "cluster" && strings.HasPrefix(p.Message, "10.77.0.1: its certificate ") && p.Remedy == "sealinstall cert --renew all"
		}) {
			t.Errorf("a run is told %v", err)
		}
	})
}

func TestStatusOfAHostAloneTellsOfTheOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 3, 1)
		w.Machines()[3].StopKubelet()
		w.noticed(t)
		s := w.status(t, w.hosts()[1])
		mustSay(t, s, false, "node host-4 (10.77.0.4) is not Ready", "node host-1 (10.77.0.1) is in the cluster, and none of the hosts that were asked")
	})
}

func TestStatusLooksAtEveryNamespace(t *testing.T) {
	w := installed(t, 1, 1)
	workload := func(ns, name, class string, ready int) {
		w.Add("workloads", map[string]any{
			"kind": "DaemonSet", "metadata": map[string]any{"namespace": ns, "name": name, "generation": 1},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": map[string]any{"app": name}}, "template": map[string]any{"spec": map[string]any{"priorityClassName": class}},
			},
			"status": map[string]any{"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": ready},
		})
	}
	workload("shop", "web", "", 1)
	mustSay(t, w.status(t), true, "application: DaemonSet shop/web: 1 of 2 pods are ready")
	workload("kube-flannel", "kube-flannel-ds", "system-node-critical", 1)
	for i, status := range []string{"True", "False"} {
		pod := map[string]any{
			"metadata": map[string]any{"namespace": "kube-flannel", "name": fmt.Sprintf("kube-flannel-ds-x%d", i), "labels": map[string]any{"app": "kube-flannel-ds"}},
			"spec":     map[string]any{"nodeName": fmt.Sprintf("host-%d", i+1)},
			"status":   map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": status}}},
		}
		if status == "False" {
			pod["status"].(map[string]any)["containerStatuses"] = []any{map[string]any{
				"name": "kube-flannel", "ready": false, "restartCount": 4, "state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff", "message": "back-off"}},
			}}
		}
		w.Add("pods", pod)
	}
	w.Add("logs", map[string]any{"pod": "kube-flannel-ds-x1", "text": "starting\n\x1b[31mno interface \x1b[0mwith that address\n\n"})
	s := w.status(t)
	mustSay(t, s, false, "pod kube-flannel/kube-flannel-ds-x1 on host-2 is not ready: kube-flannel: CrashLoopBackOff",
		"kube-flannel/kube-flannel-ds-x1: container kube-flannel (CrashLoopBackOff) says: no interface with that address")
}

func TestLeftoversOfPodsHoldNothingUp(t *testing.T) {
	w := installed(t, 1, 1)
	leftover := func(name, phase string, more map[string]any) {
		pod := map[string]any{
			"metadata": map[string]any{"namespace": "kube-system", "name": name, "labels": map[string]any{"k8s-app": "kube-proxy"}}, "spec": map[string]any{"nodeName": "host-2"},
			"status": map[string]any{"phase": phase, "reason": "Evicted", "conditions": []any{map[string]any{"type": "Ready", "status": "False"}}},
		}
		for k, v := range more {
			pod["metadata"].(map[string]any)[k] = v
		}
		w.Add("pods", pod)
	}
	leftover("kube-proxy-evicted", "Failed", nil)
	leftover("job-done", "Succeeded", nil)
	leftover("kube-proxy-going", "Running", map[string]any{"deletionTimestamp": "2026-01-01T00:00:00Z"})
	mustSay(t, w.status(t), true)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a run: %d changes, %v", changes, err)
	}
}

func TestPodsOfADeadHostThatWasLeftOutHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 3, 2)
		w.Machines()[0].PowerOff()
		r := w.looker(t, t.Context(), io.Discard, w.hosts()[1:]...)
		if _, err := installer.RunSteps(t.Context(), Install(), r, r.Report); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusTellsOfAFullDisk(t *testing.T) {
	w := installed(t, 3, 1)
	w.Machines()[1].Leave("/var/lib/etcd", 0)
	w.Machines()[3].Leave("/var/lib/containerd", 1<<30)
	config := filepath.Join(w.Machines()[3].Root(), "/var/lib/kubelet/config.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o755), os.WriteFile(config, []byte("kind: KubeletConfiguration\nevictionHard: {imagefs.available: 10%}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	w.Machines()[3].Leave("/var/lib/etcd", 0) // which does not matter on a worker
	s := w.status(t)
	mustSay(t, s, false, "10.77.0.2: /var/lib/etcd, which holds etcd, is full: 0 B of 1.0 TiB are free",
		"10.77.0.4: /var/lib/containerd, which holds containers and images, has 1.0 GiB of 1.0 TiB free, less than the 102 GiB below which kubelet evicts pods")
	if len(s.Problems) != 2 {
		t.Errorf("problems: %+v", s.Problems)
	}
}

func TestStatusNeedsNoLockAndTellsWhoHoldsIt(t *testing.T) {
	w := installed(t, 1, 1)
	r := w.looker(t, t.Context(), io.Discard)
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := r.Open(t.Context()); len(p) > 0 {
		t.Fatal(p)
	}
	s := w.status(t)
	mustSay(t, s, true)
	if !strings.HasPrefix(s.LockedBy, "process ") {
		t.Errorf("locked by %q", s.LockedBy)
	}
	if err := r.Lost(); err != nil {
		t.Errorf("asking took the lock away: %v", err)
	}
	r.Unlock()
	if s := w.status(t); s.LockedBy != "" {
		t.Errorf("a lock that was given back is held by %q", s.LockedBy)
	}
}

func TestARunWithoutAMajorityChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 3, 1)
		w.timeout = time.Minute
		w.Machines()[0].PowerOff()
		w.Machines()[2].PowerOff()
		before := w.trees(t)
		isCluster := func(p preflight.Problem) bool { return p.Check == "cluster" && p.Remedy != "" }
		// The command leaves out the masters that are dead.
		_, err := w.only(t, 1, 3)
		var pre *preflight.Error
		if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, isCluster) {
			t.Errorf("the run is told %v", err)
		}
		start := time.Now()
		_, err = w.run(t.Context(), Install())
		if !errors.As(err, &pre) || !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool {
			return isCluster(p) && strings.HasPrefix(p.Message, "etcd has no majority: 1 of 3 masters are reached")
		}) {
			t.Errorf("the run is told %v", err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("what cannot get better was waited for: %s", took)
		}
		for i, tree := range w.trees(t) {
			if diff := differences(before[i], tree); len(diff) > 0 {
				t.Errorf("host %d was changed: %s", i, strings.Join(diff, ", "))
			}
		}
	})
}

func TestMastersThatHaveJustBootedAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 3, 1)
		w.timeout = 10 * time.Minute
		for _, m := range w.Machines()[:2] {
			m.PowerOff()
		}
		w.Repair()
		w.Silence(45 * time.Second) // etcd does not answer before
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("%d changes, %v", changes, err)
		}
	})
}

// only runs the installation with some of the hosts, by their places.
func (w *world) only(t testing.TB, places ...int) (int, error) {
	t.Helper()
	var hosts []installer.Host
	for _, i := range places {
		hosts = append(hosts, w.hosts()[i])
	}
	r := w.looker(t, t.Context(), io.Discard, hosts...)
	defer r.Close()
	timings, err := installer.RunSteps(t.Context(), Install(), r, r.Report)
	return installer.Changes(timings), err
}

func TestADeletedNodeComesBack(t *testing.T) {
	for _, i := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := installed(t, 3, 1)
			w.DeleteNode(w.Machines()[i].Name)
			mustSay(t, w.status(t), false, fmt.Sprintf("node host-%d is not in the cluster", i+1))
			if changes, err := w.run(t.Context(), Install()); err != nil || changes == 0 {
				t.Errorf("%d changes, %v", changes, err)
			}
			if bad := append(w.Unsound(3), w.repeated()...); len(bad) > 0 {
				t.Error(strings.Join(bad, "\n"))
			}
			mustSay(t, w.status(t), true)
		})
	}
}

func TestWhatWasStoppedIsStartedAgain(t *testing.T) {
	for name, stop := range map[string]func(w *world){
		"the runtime of a node":           func(w *world) { w.Machines()[3].LoseRuntime() },
		"kubelet of a node":               func(w *world) { w.Machines()[3].StopKubelet() },
		"the runtime of the first master": func(w *world) { w.Machines()[0].LoseRuntime() },
		"most of the control plane":       func(w *world) { w.Machines()[0].LoseRuntime(); w.Machines()[1].StopKubelet() },
		"a registry":                      func(w *world) { w.Machines()[1].LoseRegistry() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := installed(t, 3, 1)
				w.timeout = time.Minute
				stop(w)
				if changes, err := w.run(t.Context(), Install()); err != nil || changes == 0 {
					t.Errorf("%d changes, %v", changes, err)
				}
				if bad := w.Unsound(3); len(bad) > 0 {
					t.Error(strings.Join(bad, "\n"))
				}
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
					t.Errorf("the next run: %d changes, %v", changes, err)
				}
			})
		})
	}
}
