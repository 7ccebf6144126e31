package steps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer/report"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// recording is the report of a run and the stream that it was made of.
type recording struct {
	report.Recorder
	mu     sync.Mutex
	stream bytes.Buffer
}

func (r *recording) Event(e progress.Event) {
	r.Recorder.Event(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time = e.Time.UTC()
	_ = json.NewEncoder(&r.stream).Encode(e) // in memory
}

// recorded runs a command and gives its report. The stream is kept below $REPORT_STREAMS, where that is set: it is what the golden
// tests of installer/report are made of.
func (w *world) recordedRun(t *testing.T, name string, pipeline []Step) (report.Report, error) {
	t.Helper()
	r := new(recording)
	r.Event(progress.Event{Time: time.Now(), Kind: progress.Begins, Version: progress.Version})
	r.Event(progress.Event{Time: time.Now(), Kind: progress.AskedFor, Asked: &progress.Asked{
		Verb: "run", Cluster: "plant-7", Program: "v1.0.0", Machine: "laptop", User: "ops",
		Args: []string{"--cluster", "plant-7", "--masters", "10.77.0.1-10.77.0.3", "--nodes", "10.77.0.4", "--passwd", "******", "--env", "registryPassword=******"},
		Bundle: &progress.Bundle{
			Digest: "sha256:08681f28ce5e7b3d7bb0a7e3b8a5c1d04d6f6c1f0a9e2c4b8d7e6f5a4b3c2d1e", Signer: "release@example.org", Key: "SHA256:3xmXK8v0b2mQh6n1pZQ6m0o5jvT4Qf7r9yQm3yJ2c8A",
			Images: []progress.Image{
				{Name: "localhost/kubernetes:" + newKube, Digest: "sha256:1f" + strings.Repeat("a0", 31), Kind: "rootfs", Size: 291504128},
				{Name: "localhost/shop:2.4", Digest: "sha256:2e" + strings.Repeat("b1", 31), Kind: "application", Size: 812646},
				{Name: "registry.k8s.io/kube-apiserver:" + newKube, Digest: "sha256:3d" + strings.Repeat("c2", 31), Size: 29360128},
				{Name: "registry.example.org/shop/web@sha256:" + strings.Repeat("d3", 32), Digest: "sha256:" + strings.Repeat("d3", 32), Size: 104857600},
			},
		},
	}})
	w.sink = r
	defer func() { w.sink = nil }()
	_, err := w.run(t.Context(), pipeline)
	if dir := os.Getenv("REPORT_STREAMS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), r.stream.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r.Report(), err
}

// addsUp checks that what is told of hosts comes to what the steps say: what is of no host is changed in the cluster.
func addsUp(t *testing.T, r report.Report, inCluster ...string) {
	t.Helper()
	onHosts := map[string]int{}
	for _, h := range r.Hosts {
		for _, c := range h.Changes {
			onHosts[c.Step] += c.Changes
		}
	}
	for _, s := range r.Steps {
		if n := onHosts[s.Name]; n != s.Changes && (n > s.Changes || !slices.Contains(inCluster, s.Name)) {
			t.Errorf("step %s: %d changes, and %d on hosts", s.Name, s.Changes, n)
		}
	}
}

func TestAReportTellsOfEachHostWhatWasChangedThere(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
	made, err := w.recordedRun(t, "installed", Install())
	if err != nil || made.Outcome != report.Done || made.Changes == 0 {
		t.Fatalf("%v: %s, %d changes", err, made.Outcome, made.Changes)
	}
	addsUp(t, made, "join-masters", "verify")
	for _, h := range made.Hosts[1:] {
		if h.HostChanges() == 0 || len(h.Work) == 0 || h.About.Role == "" || h.About.Versions["runtime"] == "" {
			t.Errorf("of %s: %+v", h.Address, h)
		}
		if has := len(h.About.Certificates) > 0; has != (h.About.Role == "master") {
			t.Errorf("of %s, a %s: certificates %v", h.Address, h.About.Role, h.About.Certificates)
		}
	}
	if made.Hosts[0].Address != "" || len(made.Hosts) != 5 {
		t.Errorf("this machine and 4 hosts: %d", len(made.Hosts))
	}
	if made.Checks == nil || !slices.Contains(made.Checks.Passed, "disk") || len(made.Checks.Hosts) != 4 {
		t.Errorf("checks: %+v", made.Checks)
	}

	again, err := w.recordedRun(t, "again", Install())
	if err != nil || again.Outcome != report.Done || again.Changes != 0 {
		t.Errorf("%v: %s, %d changes", err, again.Outcome, again.Changes)
	}
	w.verb = deletes(2)
	left, err := w.recordedRun(t, "left", Delete())
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, left, "follow-masters", "verify")
	w.verb = (*world).recorded
	kept := filepath.Join(w.dir, "reports", "x.html")
	if err := errors.Join(os.Mkdir(filepath.Dir(kept), 0o700), os.WriteFile(kept, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	reset, err := w.recordedRun(t, "reset", Reset())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the reports are gone with the cluster: %v", err)
	}
	addsUp(t, reset)
}

func TestAReportOfAFailedRunNamesHostStepCauseAndRemedy(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
	ip := w.Machines()[2].IP
	w.Arm(&stepstest.Fault{Kind: stepstest.ProgramDies, At: stepstest.Event{Host: ip, Kind: "step", What: "join: register node", N: 1}})
	failed, err := w.recordedRun(t, "failed", Install())
	if _, struck := w.Fired(); err == nil || !struck {
		t.Fatalf("nothing failed: %v", err)
	}
	last := failed.Steps[len(failed.Steps)-1]
	if failed.Outcome != report.Failed || last.Name != "join-nodes" || !slices.Equal(last.Hosts, []string{ip}) || !strings.Contains(last.Error, "kubeadm join") {
		t.Errorf("%s: step %s on %v: %s", failed.Outcome, last.Name, last.Hosts, last.Error)
	}
	for _, h := range failed.Hosts {
		if (h.Error != "") != (h.Address == ip) {
			t.Errorf("%s failed: %q", h.Address, h.Error)
		}
	}
	html, err := failed.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Step <b>join-nodes</b> failed on <b>" + ip + "</b>", "kubeadm join", "What to do:</b> mend the cause", ip + " host-3: why it failed", "/root/.sealos/plant-7/logs/run.log",
	} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page lacks %q", want)
		}
	}

	w.Arm(nil)
	resumed, err := w.recordedRun(t, "resumed", Install())
	if err != nil || resumed.Outcome != report.Done {
		t.Fatal(err)
	}
	for _, s := range resumed.Steps {
		if did := s.Changes > 0; did != slices.Contains([]string{"join-nodes", "sync-ipvs", "guest"}, s.Name) && s.Name != "settings" {
			t.Errorf("step %s of the run that goes on: %d changes", s.Name, s.Changes)
		}
	}
}

func TestAReportOfAnUpgradeOrASettingTellsOfEachHostWhatWasChangedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := upgradeSite(t, 1, 2)
		w.Arm(nil)
		r, err := w.recordedRun(t, "upgraded", Upgrade())
		if err != nil {
			t.Fatal(err)
		}
		addsUp(t, r, "upgrade-addons", "verify")
		for _, h := range r.Hosts[1:] {
			if h.HostChanges() == 0 || h.About.Versions["kubelet"] != newKube {
				t.Errorf("%+v", h)
			}
		}
	})
	w := installedSite(t, 1, 2)
	w.asks(applies, kubeletLogs)
	r, err := w.recordedRun(t, "setting", Install())
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, r, "settings")
	for _, h := range r.Hosts[1:] {
		if h.HostChanges() != 1 {
			t.Errorf("%+v", h)
		}
	}
}

func TestAReportOfARefusedRunHasEveryProblem(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
	w.Machines()[1].PowerOff()
	refused, err := w.recordedRun(t, "refused", Install())
	if err == nil || refused.Outcome != report.Refused || refused.Changes != 0 {
		t.Fatalf("%v: %s", err, refused.Outcome)
	}
	found := fmt.Sprintf("%+v", refused.Problems)
	if !slices.ContainsFunc(refused.Problems, func(p report.Problem) bool {
		return p.Check == "connect" && slices.Equal(p.Hosts, []string{w.Machines()[1].IP}) && p.Remedy != "" && p.Stops
	}) {
		t.Error(found)
	}
}

// TestStreamsOfReportsAreRecorded makes what the golden tests of installer/report begin with, where $REPORT_STREAMS names a
// directory: a run that comes to its end, one that fails, the one that goes on, and one that is refused, with times of real hosts.
func TestStreamsOfReportsAreRecorded(t *testing.T) {
	if os.Getenv("REPORT_STREAMS") == "" {
		t.Skip("REPORT_STREAMS is not set")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), bundleOf(t, stepstest.Kubernetes(newKube, newContainerd)), 3, 1)
		w.Pace, w.timeout, w.jobs = upgradePace(), 10*time.Minute, 1
		w.Latency = siteLatency(1)
		ip := w.Machines()[3].IP
		w.Machines()[3].PowerOff()
		w.recordedRun(t, "refused", Install())
		w.Repair()
		w.Arm(&stepstest.Fault{Kind: stepstest.ProgramDies, At: stepstest.Event{Host: ip, Kind: "step", What: "join: register node", N: 1}})
		w.recordedRun(t, "failure", Install())
		w.Arm(nil)
		if _, err := w.recordedRun(t, "resumed", Install()); err != nil {
			t.Error(err)
		}
		fresh := newWorld(t, memoryDir(t), w.bundle, 3, 1)
		fresh.Pace, fresh.timeout, fresh.jobs, fresh.Latency = w.Pace, w.timeout, 1, w.Latency
		if _, err := fresh.recordedRun(t, "success", Install()); err != nil {
			t.Error(err)
		}
	})
}
