package steps

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

const (
	keptKey   = "/registry/secrets/site"
	keptValue = "what the site put into the cluster"
)

// livingCluster is a world in which the first master alone is a cluster with data. The others are to join it.
func livingCluster(t *testing.T, masters, nodes int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), simBundle(t), masters, nodes)
	w.take = 1
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(keptKey, keptValue); err != nil {
		t.Fatal(err)
	}
	w.take = 0
	return w
}

// unsoundWithData is what is wrong with a cluster that had data before.
func (w *world) unsoundWithData() []string {
	// Scripts whose environment names the hosts run again when there are more.
	bad := slices.DeleteFunc(w.Unsound(w.masters), func(b string) bool { return strings.Contains(b, "although it is on record") })
	if got := w.Get(keptKey); got != keptValue {
		bad = append(bad, fmt.Sprintf("etcd has lost its data: %q", got))
	}
	return bad
}

func (w *world) mustInstall(t *testing.T) {
	t.Helper()
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if bad := w.unsoundWithData(); len(bad) > 0 {
		t.Errorf("after the command:\n%s", strings.Join(bad, "\n"))
	}
}

// joinKills is a living cluster that two masters join.
func joinKills(t *testing.T) (*killTest, []stepstest.Event) {
	t.Helper()
	k := &killTest{begin: livingCluster(t, 3, 0), pipeline: Install(), then: Install(), again: true}
	w := k.begin.clone(t, memoryDir(t))
	w.Arm(nil)
	w.mustInstall(t)
	k.made = w.trees(t)
	k.sound = func(w *world) []string { return w.unsoundWithData() }
	return k, w.Trace()
}

// TestAMastersJoinCutAnywhereKeepsEtcd ends a master's join at each step of kubeadm, by the death of what runs on the host
// and by a power cut. With SIM_FAULTS=all it does so at every event from the first mark of the join to its last, in every
// way.
func TestAMastersJoinCutAnywhereKeepsEtcd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := joinKills(t)
		masters := []string{k.begin.Machines()[1].IP, k.begin.Machines()[2].IP}
		var list []*stepstest.Fault
		begun := map[string]bool{} // masters whose join has begun, and not ended
		for _, e := range events {
			if strings.Contains(e.What, "/journal/"+journal.EtcdData) {
				begun[e.Host] = true
			}
			joining := e.Kind == "step" && (strings.HasPrefix(e.What, "join: ") || e.What == "preflight")
			switch {
			case !slices.Contains(masters, e.Host):
			case everyFault() && !begun[e.Host]:
			case everyFault():
				for _, kind := range []stepstest.FaultKind{stepstest.InstallerDies, stepstest.AgentDies, stepstest.LinkCut, stepstest.PowerCut} {
					list = append(list, &stepstest.Fault{Kind: kind, At: e})
				}
			case joining && e.Host == masters[0]:
				list = append(list, &stepstest.Fault{Kind: stepstest.AgentDies, At: e}, &stepstest.Fault{Kind: stepstest.PowerCut, At: e})
			case joining:
				list = append(list, &stepstest.Fault{Kind: stepstest.PowerCut, At: e})
			}
			if e.Kind == "after" && strings.Contains(e.What, "/journal/"+journal.Kubeconfig) {
				begun[e.Host] = false
			}
		}
		if len(list) < 20 {
			t.Fatalf("only %d faults", len(list))
		}
		k.all(t, list)
	})
}

// cutJoin ends the join of a machine at a step of kubeadm.
func (w *world) cutJoin(t *testing.T, kind stepstest.FaultKind, ip, step string) {
	t.Helper()
	w.Arm(&stepstest.Fault{Kind: kind, At: stepstest.Event{Host: ip, Kind: "step", What: step, N: 1}})
	_, err := w.run(t.Context(), Install())
	if _, ok := w.Fired(); !ok {
		t.Fatalf("the join never came to %q: %v", step, err)
	}
	w.Arm(nil)
}

func TestASecondMasterThatVotesAndNeverJoinedIsTakenOutBeforeItIsWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := livingCluster(t, 2, 0)
		w.cutJoin(t, stepstest.PowerCut, w.Machines()[1].IP, "join: register node")
		w.Repair() // it has the second vote: until its etcd runs again, nothing can be changed
		w.mustInstall(t)
	})
}

func TestNothingIsWipedOnAHostWhoseMemberCannotBeRemoved(t *testing.T) {
	t.Parallel() // it waits
	w := livingCluster(t, 2, 0)
	second := w.Machines()[1]
	w.cutJoin(t, stepstest.AgentDies, second.IP, "join: register node")
	// Once the checks are passed its etcd cannot start any more, and the first has no majority without it.
	var once sync.Once
	w.Latency = func(what string) time.Duration {
		if what == "hosts" {
			once.Do(func() {
				if err := second.Write("/var/lib/etcd/member/id", "damaged"); err != nil {
					t.Error(err)
				}
			})
		}
		return 0
	}
	_, err := w.run(t.Context(), Install())
	for _, want := range []string{second.IP, "out of etcd", "Nothing on the host was removed", "1 of its 2 voting members"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	for _, name := range []string{"/var/lib/etcd/member/id", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/pki/etcd/ca.key"} {
		if !second.Has(name) {
			t.Errorf("%s was removed", name)
		}
	}
}

func TestAThirdMasterJoinsThoughTheSecondLeftALearner(t *testing.T) {
	w := livingCluster(t, 3, 0)
	// It has started, and keeps etcd from taking in another.
	w.cutJoin(t, stepstest.AgentDies, w.Machines()[1].IP, "join: etcd vote")
	w.mustInstall(t)
}

func TestAMasterThatComesBackWithAnEmptyDiskJoinsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, back := range []int{0, 1, 2} {
			w := livingCluster(t, 3, 1)
			w.mustInstall(t)
			if err := w.Machines()[back].Replace(); err != nil {
				t.Fatal(err)
			}
			w.mustInstall(t)
		}
	})
}

func TestAMemberOfNoHostOfTheCommandIsNamedBeforeKubeadmWaitsForIt(t *testing.T) {
	w := livingCluster(t, 3, 0)
	third := w.Machines()[2]
	w.cutJoin(t, stepstest.AgentDies, w.Machines()[1].IP, "join: etcd manifest")
	only := *w
	hosts := w.hosts()
	only.named = append(hosts[:1:1], hosts[2])
	before := third.Done()
	_, err := only.run(t.Context(), Install())
	for _, want := range []string{w.Machines()[1].IP, "never started", "etcd remove --peer"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if diff := cmp.Diff(before, third.Done()); diff != "" {
		t.Errorf("kubeadm ran: %s", diff)
	}
}

func TestAClusterWithoutAMajorityIsReset(t *testing.T) {
	t.Parallel() // it waits
	w := livingCluster(t, 2, 0)
	w.mustInstall(t)
	if err := w.Machines()[1].Write("/var/lib/etcd/member/id", "damaged"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		if m.Has("/var/lib/etcd") {
			t.Errorf("%s: /var/lib/etcd is there", m.IP)
		}
	}
}

func TestAJoinedMasterWhoseEtcdIsDownIsNamedBeforeAnotherJoins(t *testing.T) {
	t.Parallel() // it waits
	w := livingCluster(t, 4, 0)
	second := w.Machines()[1]
	w.take = 3
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.take = 0
	if err := second.Write("/var/lib/etcd/member/id", "damaged"); err != nil {
		t.Fatal(err)
	}
	_, err := w.run(t.Context(), Install())
	if err == nil || !strings.Contains(err.Error(), "the member of "+second.IP+" does not answer") {
		t.Errorf("the command = %v", err)
	}
	if done := w.Machines()[3].Done()["kubeadm join"]; done != 0 || w.Machines()[3].Has("/etc/kubernetes/manifests/etcd.yaml") {
		t.Errorf("kubeadm ran on the fourth")
	}
}

func TestTheNodeOfAnotherMachineWithTheSameNameIsNotDeleted(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
	w.take = 2
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	hosts, third := w.hosts(), w.Machines()[2]
	third.Name = w.Machines()[1].Name
	w.take = 0
	w.named = append(hosts[:1:1], w.hosts()[2])
	for range 2 { // the second run undoes what the first has begun
		if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "already exists in the cluster") {
			t.Errorf("the command = %v", err)
		}
	}
	w.named, w.take, third.Name = nil, 2, "another"
	if changes, err := w.run(t.Context(), Install()); err != nil {
		t.Errorf("the cluster as it was: %d changes, %v", changes, err)
	}
}

func TestResetWithoutADeadMasterDoesNotWaitForAMajorityThatCannotBe(t *testing.T) {
	w := livingCluster(t, 3, 0)
	w.mustInstall(t)
	w.Machines()[0].PowerOff()
	hosts := w.hosts()
	hosts[0].Away = true
	w.named, w.leaveOut = hosts, []string{hosts[0].IP.String()}
	w.Arm(nil)
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.Trace() {
		if strings.Contains(e.What, "etcd remove") {
			t.Errorf("it tried what etcd refuses: %s", e)
		}
	}
	for _, m := range w.Machines()[1:] {
		if m.Has("/var/lib/etcd") || m.Has("/var/lib/sealos") {
			t.Errorf("%s is not reset", m.IP)
		}
	}
}

func TestANodeThatWasReinstalledAMomentAgoJoinsAnew(t *testing.T) {
	w := livingCluster(t, 1, 2)
	w.mustInstall(t)
	if err := w.Machines()[2].Replace(); err != nil {
		t.Fatal(err)
	}
	w.mustInstall(t) // its Node is there, and Ready
}
