package steps

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestAHostThatIsToLeaveAndAnswersByHalfIsToldWithWhatHelps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 2)
		m := w.Machines()[4]
		if err := m.Write("/var/lib/sealos/data/default/journal/cleaned/in the way", "x"); err != nil { // its marks cannot be read
			t.Fatal(err)
		}
		_, err := w.command(t, Delete(), deletes(4), true)
		for _, want := range []string{m.IP, "answers by half", "switch it off for good, and run the same command with --dead"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it is told %v, want %q", err, want)
			}
		}
		m.PowerOff()
		w.noticed(t)
		w.mustCommand(t, Delete(), deletes(4), true, 4)
	})
}

// TestAHostThatIsBackWhileTheOperatorIsAskedIsNotDeclaredDead: it would have its pods and volumes run on two hosts.
func TestAHostThatIsBackWhileTheOperatorIsAskedIsNotDeclaredDead(t *testing.T) {
	for _, place := range []int{2, 3} { // a master, a node
		synctest.Test(t, func(t *testing.T) {
			w := filled(t, 3, 2)
			w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Local: "host-4"})
			for len(w.Pods("shop", "db")) < 1 {
				time.Sleep(w.Pace.Pod)
			}
			m := w.Machines()[place]
			m.PowerOff()
			w.noticed(t)
			w.confirm = func([]leaving.Loss) error {
				m.PowerOn()
				return w.Up(t.Context())
			}
			_, err := w.command(t, Delete(), deletes(place), true)
			w.confirm = nil
			if err == nil || !strings.Contains(err.Error(), m.IP) || !strings.Contains(err.Error(), "not dead") {
				t.Errorf("it is told %v", err)
			}
			nodes := w.mustKubectl(t, "get", "nodes", "-o", "json")
			if strings.Contains(nodes, "out-of-service") || !strings.Contains(nodes, m.Name) {
				t.Errorf("%s was declared dead", m.Name)
			}
			w.mustCommand(t, Install(), adds(), false)
		})
	}
}

// TestAMasterWhoseMemberCannotLeaveServesOn loses the majority of etcd once the host that is to leave has no API server any more.
func TestAMasterWhoseMemberCannotLeaveServesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 1)
		second, third := w.Machines()[1], w.Machines()[2]
		w.Arm(&stepstest.Fault{Kind: stepstest.PowerCut, On: second.IP, At: stepstest.Event{Host: third.IP, Kind: "removing", What: apiManifest, N: 1}})
		_, err := w.command(t, Delete(), deletes(2), false)
		if err == nil || !strings.Contains(err.Error(), "unhealthy cluster") || !strings.Contains(err.Error(), "Nothing on the host was removed") {
			t.Errorf("it is told %v", err)
		}
		if !third.Has(apiManifest) {
			t.Error("its API server is stopped, and stays so")
		}
		w.Arm(nil)
		w.Repair()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mustCommand(t, Delete(), deletes(2), false, 2)
	})
}

func TestImagesThatOnlyTheRegistryOfAMasterHoldsAreToldBeforeItLeaves(t *testing.T) {
	w := filled(t, 3, 1)
	ask := func(place int) (lost string) {
		no := errors.New("not confirmed")
		w.confirm = func(found []leaving.Loss) error {
			lost = strings.Join(found[0].Lost, "\n")
			return no
		}
		defer func() { w.confirm = nil }()
		if _, err := w.command(t, Delete(), deletes(place), false); !errors.Is(err, no) {
			t.Fatal(err)
		}
		return lost
	}
	if lost := ask(2); lost != "" {
		t.Errorf("of a registry like the others: %s", lost)
	}
	const pushed = "/var/lib/registry/docker/registry/v2/blobs/sha256/ab/ab00000000000000000000000000000000000000000000000000000000000000/data"
	if err := w.Machines()[2].Write(pushed, strings.Repeat("x", 2048)); err != nil {
		t.Fatal(err)
	}
	if lost := ask(2); lost != "images of which only its registry holds parts (1 blob, 2.0 KiB): push them to a master that stays" {
		t.Errorf("told %q", lost)
	}
	if lost := ask(1); lost != "" {
		t.Errorf("of another one: %q", lost)
	}
}

// TestWhatIsLostIsToldAlsoWhereNobodyIsAsked takes a host out, and then the cluster apart, as with --yes.
func TestWhatIsLostIsToldAlsoWhereNobodyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 2, 2)
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Local: "host-3"})
		for len(w.Pods("shop", "db")) < 1 {
			time.Sleep(w.Pace.Pod)
		}
		var text strings.Builder
		w.told = &text
		w.mustCommand(t, Delete(), deletes(2), false, 2)
		for _, want := range []string{
			"10.77.0.3: this node leaves the cluster: what was installed is removed; 1 pod moves to other hosts",
			"10.77.0.3: lost: pod shop/db-0 is the last one of StatefulSet/db", "10.77.0.3: lost: data of pod shop/db-0: volume of claim local-db",
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("delete does not tell %q:\n%s", want, text.String())
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 1, 1)
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Local: "host-2"})
		for len(w.Pods("shop", "db")) < 1 {
			time.Sleep(w.Pace.Pod)
		}
		const pushed = "/var/lib/registry/docker/registry/v2/blobs/sha256/ab/ab00000000000000000000000000000000000000000000000000000000000000/data"
		if err := w.Machines()[0].Write(pushed, strings.Repeat("x", 2048)); err != nil {
			t.Fatal(err)
		}
		dead := w.clone(t, memoryDir(t))
		for _, c := range []struct {
			w    *world
			want []string
		}{
			{w, []string{
				"10.77.0.1: lost: parts of images in its registry that this bundle does not bring (1 blob, 2.0 KiB)", "10.77.0.2: lost: 1 pod\n",
				"10.77.0.2: lost: data of pod shop/db-0: volume of claim local-db (1Gi /data/db), 3.0 MiB",
			}},
			{dead, []string{"lost with the cluster: what runs there, which is not known, since it does not answer"}},
		} {
			var text strings.Builder
			c.w.told = &text
			if c.w == dead {
				if err := os.Remove(filepath.Join(dead.Machines()[0].Root(), apiManifest)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.w.run(t.Context(), Reset()); err != nil {
				t.Error(err)
			}
			for _, want := range c.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("reset does not tell %q:\n%s", want, text.String())
				}
			}
		}
	})
}
