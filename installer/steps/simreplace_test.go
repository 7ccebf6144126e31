package steps

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// command runs a command that changes which hosts are in the cluster.
func (w *world) command(t *testing.T, pipeline []Step, verb func(w *world) (*installer.Cluster, error), dead bool) (int, error) {
	t.Helper()
	w.verb, w.dead = verb, dead
	defer func() { w.verb, w.dead = nil, false }()
	return w.run(t.Context(), pipeline)
}

func (w *world) mustCommand(t *testing.T, pipeline []Step, verb func(w *world) (*installer.Cluster, error), dead bool, gone ...int) {
	t.Helper()
	if _, err := w.command(t, pipeline, verb, dead); err != nil {
		t.Fatal(err)
	}
	w.mustBeSound(t, gone...)
}

func (w *world) mustBeSound(t *testing.T, gone ...int) {
	t.Helper()
	var out []string
	for _, i := range gone {
		out = append(out, w.Machines()[i].IP)
	}
	bad := slices.DeleteFunc(w.Unsound(w.masters, out...), func(b string) bool { return strings.Contains(b, "although it is on record") })
	if got := w.Get(keptKey); got != keptValue {
		bad = append(bad, fmt.Sprintf("etcd has lost its data: %q", got))
	}
	if len(bad) > 0 {
		t.Errorf("after the command:\n%s", strings.Join(bad, "\n"))
	}
}

// filled is a cluster with data.
func filled(t *testing.T, masters, nodes int) *world {
	t.Helper()
	w := installed(t, masters, nodes)
	if err := w.Put(keptKey, keptValue); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestADeadHostIsDeletedAndReplacedByAFreshOneOfTheSameAddress(t *testing.T) {
	for _, i := range []int{0, 1, 3} { // the first master, another one, a node
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := filled(t, 3, 2)
			m := w.Machines()[i]
			m.PowerOff()
			w.noticed(t)
			w.mustCommand(t, Delete(), deletes(i), true, i)
			if err := m.Replace(); err != nil {
				t.Fatal(err)
			}
			w.Repair()
			w.mustCommand(t, Install(), adds(i), false)
			if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
				t.Errorf("a further run: %d changes, %v", changes, err)
			}
		})
	}
}

func TestADeletedHostThatComesBackWithItsOldDiskDoesNoHarmAndJoinsAnew(t *testing.T) {
	for _, i := range []int{0, 2, 4} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := filled(t, 3, 2)
			m := w.Machines()[i]
			m.PowerOff()
			w.noticed(t)
			w.mustCommand(t, Delete(), deletes(i), true, i)
			m.PowerOn()
			if err := w.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i < 3 {
				w.mustBeSound(t, i) // nothing of it comes back
			}
			w.mustCommand(t, Install(), adds(i), false)
			if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
				t.Errorf("a further run: %d changes, %v", changes, err)
			}
		})
	}
}

// refusedFor gives the problem of a kind for which a command was refused.
func refusedFor(t *testing.T, err error, check string) preflight.Problem {
	t.Helper()
	var pre *preflight.Error
	if errors.As(err, &pre) {
		for _, p := range pre.Problems {
			if p.Check == check {
				return p
			}
		}
	}
	t.Fatalf("the command is told %v", err)
	return preflight.Problem{}
}

func TestTheSecondOfTwoLivingMastersIsNotDeletedWhileTheThirdIsDead(t *testing.T) {
	w := filled(t, 3, 1)
	w.Machines()[0].PowerOff()
	w.noticed(t)
	before := w.trees(t)
	_, err := w.command(t, Delete(), deletes(1), false)
	if p := refusedFor(t, err, "etcd"); !strings.Contains(p.Remedy, "delete --dead --masters 10.77.0.1") {
		t.Errorf("the remedy is %q", p.Remedy)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("host %d was changed: %s", i+1, strings.Join(diff, ", "))
		}
	}
	w.mustCommand(t, Delete(), deletes(0), true, 0) // the order that works
	w.mustCommand(t, Delete(), deletes(1), false, 0, 1)
}

func TestAHostWhosePodsMayNotGoStaysAsItWas(t *testing.T) {
	w := filled(t, 1, 3)
	w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 2})
	w.Deploy(stepstest.App{Namespace: "shop", Name: "held", Kind: "Deployment", Replicas: 3, Kept: true})
	for len(w.Pods("shop", "web"))+len(w.Pods("shop", "held")) < 5 {
		time.Sleep(w.Pace.Pod)
	}
	_, err := w.command(t, Delete(), deletes(1), false)
	for _, want := range []string{"host-2 was not drained", "PodDisruptionBudget shop/web allows no disruption", "held by its finalizers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	w.mustBeSound(t)
	if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
		t.Errorf("a further run: %d changes, %v", changes, err)
	}
}

func TestAHostThatIsNotDeadIsNotDeletedAsDead(t *testing.T) {
	for _, i := range []int{2, 3} {
		w := filled(t, 3, 2)
		w.Machines()[i].Hide() // from this machine only
		_, err := w.command(t, Delete(), deletes(i), true)
		if err == nil || !strings.Contains(err.Error(), "not dead") {
			t.Errorf("the command is told %v", err)
		}
		w.mustBeSound(t)
	}
}

func TestOneMasterBecomesThreeAndOneAgain(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 2)
	all := w.hosts()
	w.named = []installer.Host{all[0], all[3], all[4]}
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(keptKey, keptValue); err != nil {
		t.Fatal(err)
	}
	w.mustCommand(t, Install(), adds(1, 2), false)
	w.mustCommand(t, Delete(), deletes(0), false, 0)
	w.mustCommand(t, Delete(), deletes(1), false, 0, 1)
	for _, i := range []int{0, 1} {
		for _, name := range []string{"/var/lib/sealos", "/var/lib/etcd", "/etc/kubernetes/kubelet.conf"} {
			if w.Machines()[i].Has(name) {
				t.Errorf("host %d: %s is there", i+1, name)
			}
		}
	}
	w.mustCommand(t, Install(), adds(0), false, 1)
}

func TestDeleteWaitsForMastersThatHaveJustBooted(t *testing.T) {
	realistic(t, 3, 1, func(t *testing.T, w *world) {
		if err := w.Put(keptKey, keptValue); err != nil {
			t.Fatal(err)
		}
		w.Machines()[1].PowerOff()
		w.Repair() // it answers to ssh, and its etcd does not yet
		w.mustCommand(t, Delete(), deletes(2), false, 2)
	})
}

// onceTold does something when the operator is told of something.
type onceTold struct {
	text string
	do   func()
	once sync.Once
}

func (o *onceTold) Write(p []byte) (int, error) {
	if strings.Contains(string(p), o.text) {
		o.once.Do(o.do)
	}
	return len(p), nil
}

func TestAHostThatLosesItsPowerOnceItHasLeftKeepsNothing(t *testing.T) {
	w := filled(t, 3, 1)
	left, cut := w.Machines()[2], false
	w.told = &onceTold{text: "] clean ", do: func() {
		left.PowerOff()
		cut = true
	}}
	w.mustCommand(t, Delete(), deletes(2), false, 2)
	if !cut || left.Has("/var/lib/sealos") {
		t.Errorf("power cut: %t; the installer lies there: %t", cut, left.Has("/var/lib/sealos"))
	}
}

func TestWhatIsLostWithAHostIsToldAndNothingIsDoneUnlessItIsConfirmed(t *testing.T) {
	w := filled(t, 1, 2)
	w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Local: "host-2"})
	w.Deploy(stepstest.App{Namespace: "shop", Name: "once", Kind: "Pod", Local: "host-2"})
	for len(w.Pods("shop", "db"))+len(w.Pods("shop", "once")) < 2 {
		if t.Context().Err() != nil {
			t.Fatal("the pods do not start")
		}
	}
	before := w.trees(t)
	var losses []leaving.Loss
	no := errors.New("not confirmed")
	w.confirm = func(found []leaving.Loss) error {
		losses = found
		return no
	}
	if _, err := w.command(t, Delete(), deletes(1), false); !errors.Is(err, no) {
		t.Fatal(err)
	}
	w.confirm = nil
	var lost string
	for _, l := range losses {
		lost += fmt.Sprintf("%s %s %s %d\n", l.Host, l.Role, l.Node, l.Moves) + strings.Join(l.Lost, "\n")
	}
	for _, want := range []string{"10.77.0.2 node host-2 1", "pod shop/db-0 is the last one of StatefulSet/", "pod shop/once: nothing makes it anew elsewhere", "data of pod shop/db-0: volume of claim local-db (1Gi"} {
		if !strings.Contains(lost, want) {
			t.Errorf("%q is not told:\n%s", want, lost)
		}
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("host %d was changed: %s", i+1, strings.Join(diff, ", "))
		}
	}
}
