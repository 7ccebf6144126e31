package steps

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/certs"
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
			synctest.Test(t, func(t *testing.T) {
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
		})
	}
}

func TestADeletedHostThatComesBackWithItsOldDiskDoesNoHarmAndJoinsAnew(t *testing.T) {
	for _, i := range []int{0, 2, 4} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := filled(t, 3, 2)
				m := w.Machines()[i]
				m.PowerOff()
				w.noticed(t)
				w.mustCommand(t, Delete(), deletes(i), true, i)
				if s := w.recordedStatus(t); len(s.Warnings) > 0 || !s.Ready {
					t.Errorf("status tells %+v", s)
				}
				m.PowerOn()
				if err := w.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.mustBeSound(t, i) // nothing of it comes back
				s := w.recordedStatus(t)
				if told := strings.Join(s.Warnings, "\n"); !strings.Contains(told, m.IP+": it was taken out of the cluster while it was dead, and a kubelet answers there") {
					t.Errorf("status tells %q", told)
				}
				mustSay(t, s, true)
				w.mustCommand(t, Install(), adds(i), false)
				if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
					t.Errorf("a further run: %d changes, %v", changes, err)
				}
				if s := w.recordedStatus(t); len(s.Warnings) > 0 || !s.Ready {
					t.Errorf("status tells %+v", s)
				}
			})
		})
	}
}

func TestAHostThatKubernetesCannotRefuseIsToldAsAProblemWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 1, 2)
		w.NoPolicies = true
		var told bytes.Buffer
		w.told = &told
		m := w.Machines()[2]
		m.PowerOff()
		w.noticed(t)
		w.mustCommand(t, Delete(), deletes(2), true, 2)
		if !strings.Contains(told.String(), "10.77.0.3: keep it switched off, or wipe its disk") {
			t.Errorf("delete says %s", told.String())
		}
		mustSay(t, w.recordedStatus(t), true)
		m.PowerOn()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSay(t, w.recordedStatus(t), false, "10.77.0.3: it was taken out of the cluster, and its node host-3 is in the cluster again: pods may run there")
		w.mustCommand(t, Install(), adds(2), false)
		mustSay(t, w.recordedStatus(t), true)
	})
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
	synctest.Test(t, func(t *testing.T) {
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
		w.mustTell(t, []string{"10.77.0.1"}, []string{"10.77.0.1"})
		w.mustCommand(t, Delete(), deletes(1), false, 0, 1)
		w.mustTell(t, []string{"10.77.0.1", "10.77.0.2"}, []string{"10.77.0.1"})
		w.mustCommand(t, Install(), adds(1), false, 0)
		w.mustTell(t, []string{"10.77.0.1"}, []string{"10.77.0.1"})
	})
}

// mustTell fails unless the record tells which hosts were taken out, and which of them were dead.
func (w *world) mustTell(t *testing.T, takenOut, buried []string) {
	t.Helper()
	c, err := w.recorded()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{takenOut, buried}, [][]string{c.TakenOut(), c.Buried()}); diff != "" {
		t.Errorf("taken out, and dead: %s", diff)
	}
}

func TestAHostWhosePodsMayNotGoStaysAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	})
}

func TestAHostThatIsNotDeadIsNotDeletedAsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, i := range []int{2, 3} {
			w := filled(t, 3, 2)
			w.Machines()[i].Hide() // from this machine only
			_, err := w.command(t, Delete(), deletes(i), true)
			if err == nil || !strings.Contains(err.Error(), "not dead") {
				t.Errorf("the command is told %v", err)
			}
			w.mustBeSound(t)
		}
	})
}

func TestOneMasterBecomesThreeAndOneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	})
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
	synctest.Test(t, func(t *testing.T) {
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
	})
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
	ask := func(dead bool) (lost string) {
		no := errors.New("not confirmed")
		w.confirm = func(found []leaving.Loss) error {
			for _, l := range found {
				lost += fmt.Sprintf("%s %s %s %d\n", l.Host, l.Role, l.Node, l.Moves) + strings.Join(l.Lost, "\n")
			}
			return no
		}
		defer func() { w.confirm = nil }()
		if _, err := w.command(t, Delete(), deletes(1), dead); !errors.Is(err, no) {
			t.Fatal(err)
		}
		return lost
	}
	lost := ask(false)
	for _, want := range []string{"10.77.0.2 node host-2 1", "pod shop/db-0 is the last one of StatefulSet/", "pod shop/once: nothing makes it anew elsewhere", "data of pod shop/db-0: volume of claim local-db (1Gi /data/db), 3.0 MiB"} {
		if !strings.Contains(lost, want) {
			t.Errorf("%q is not told:\n%s", want, lost)
		}
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("host %d was changed: %s", i+1, strings.Join(diff, ", "))
		}
	}
	w.Machines()[1].PowerOff() // nobody counts there any more
	w.noticed(t)
	if lost := ask(true); !strings.Contains(lost, "data of pod shop/db-0: volume of claim local-db (1Gi /data/db), size not known") {
		t.Errorf("a size that is not known is not told as that:\n%s", lost)
	}
}

func TestAMasterThatWasLeftOutKeepsTheNameOfOneThatIsGoneUntilTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 1)
		names := func() []string {
			found, _ := certs.Describe("pki/apiserver.crt", []byte(w.file(t, w.Machines()[1], "/etc/kubernetes/pki/apiserver.crt")))
			return found.Names
		}
		// Its certificate is of before: as if it had not been reached when the other one was taken out.
		old, key := w.file(t, w.Machines()[1], "/etc/kubernetes/pki/apiserver.crt"), w.file(t, w.Machines()[1], "/etc/kubernetes/pki/apiserver.key")
		w.mustCommand(t, Delete(), deletes(2), false, 2)
		if slices.Contains(names(), "10.77.0.3") {
			t.Fatalf("names %v", names())
		}
		mustSay(t, w.recordedStatus(t), true)
		for name, text := range map[string]string{"crt": old, "key": key} {
			if err := w.Machines()[1].Write("/etc/kubernetes/pki/apiserver."+name, text); err != nil {
				t.Fatal(err)
			}
		}
		mustSay(t, w.recordedStatus(t), true, "10.77.0.2: its certificate pki/apiserver.crt still names 10.77.0.3, which was taken out of the cluster (sealinstall cert --renew apiserver)")
		if _, err := w.command(t, Install(), adds(), false); err != nil || slices.Contains(names(), "10.77.0.3") {
			t.Errorf("after the next run: %v, names %v", err, names())
		}
		if s := w.recordedStatus(t); len(s.Warnings) > 0 {
			t.Errorf("%v", s.Warnings)
		}
		if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
			t.Errorf("a further run: %d changes, %v", changes, err)
		}
	})
}
