package steps

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// recorded is the record of the control machine, as commands read it.
func (w *world) recorded() (*installer.Cluster, error) {
	read := func(name string) (*installer.Cluster, error) {
		file := filepath.Join(w.dir, name)
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return installer.ParseClusterfile(file, data)
	}
	c, err := read(ledger.ClusterfileName)
	if err != nil {
		return nil, err
	}
	finished := c
	if !c.Finished() {
		finished, err = read(ledger.LastClusterfileName)
	}
	switch {
	case err == nil:
		c.MarkRecorded(finished)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	c.Kept, c.Images = c.Images, nil
	return c, nil
}

// deletes is the command that takes machines out, by their places.
func deletes(places ...int) func(w *world) (*installer.Cluster, error) {
	return func(w *world) (*installer.Cluster, error) {
		c, err := w.recorded()
		if err != nil {
			return nil, err
		}
		var addresses []installer.Address
		for _, i := range places {
			addresses = append(addresses, installer.Address{IP: w.hostAt(i).IP})
		}
		return c, c.Take(addresses)
	}
}

// adds is the command that takes machines in, by their places.
func adds(places ...int) func(w *world) (*installer.Cluster, error) {
	return func(w *world) (*installer.Cluster, error) {
		c, err := w.recorded()
		if err != nil {
			return nil, err
		}
		for _, i := range places {
			h := w.hostAt(i)
			if slices.ContainsFunc(c.Hosts, func(r installer.Host) bool { return r.IP == h.IP }) {
				continue
			}
			at := len(c.Hosts)
			if h.Master {
				at = len(c.Masters())
			}
			c.Hosts = slices.Insert(c.Hosts, at, h)
		}
		return c, nil
	}
}

func (w *world) hostAt(place int) installer.Host {
	whole := *w
	whole.named, whole.take = nil, 0
	return whole.hosts()[place]
}

// foreign are files that are not the cluster's, on every host.
func foreign() map[string]string {
	return map[string]string{
		"/var/lib/etcd/snapshot.db": "an operator's", "/etc/kubernetes/own.conf": "of the site", "/var/lib/kubelet/disk/file": "on a disk of the site", "/data/file": "data",
	}
}

// memberKills is a cluster whose members change, and how that ends where nothing disturbs it.
func memberKills(t *testing.T, installed []int, dead []int, pipeline []Step, verb func(w *world) (*installer.Cluster, error), gone ...int) (*killTest, []stepstest.Event) {
	t.Helper()
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 2)
	// Everything takes as long as on real hosts, by a clock that is not real. Hosts that wait for each other may wait for a
	// mutex, during which that clock stands still.
	w.Pace, w.timeout, w.jobs = stepstest.RealPace(), 10*time.Minute, 1
	all := w.hosts()
	for _, i := range installed {
		w.named = append(w.named, all[i])
	}
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(keptKey, keptValue); err != nil {
		t.Fatal(err)
	}
	w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 1, EmptyDir: true})
	w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Volume: true})
	for len(w.Pods("shop", "web"))+len(w.Pods("shop", "db")) < 3 {
		time.Sleep(w.Pace.Pod)
	}
	for _, i := range installed {
		m := w.Machines()[i]
		for name, text := range foreign() {
			if err := m.Write(name, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Write("/proc/self/mounts", m.Text("/proc/self/mounts")+"/dev/sdb /var/lib/kubelet/disk ext4 rw 0 0\n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range dead {
		w.Machines()[i].Destroy()
	}
	w.verb, w.dead = verb, len(dead) > 0
	if len(dead) > 0 {
		w.noticed(t)
	}
	var out []string
	for _, i := range gone {
		out = append(out, w.Machines()[i].IP)
	}
	k := &killTest{begin: w, pipeline: pipeline, then: pipeline, again: len(gone) == 0, bubble: true}
	k.later = func(w *world) error {
		w.verb, w.dead = adds(), false
		_, err := w.run(t.Context(), Install())
		return err
	}
	k.sound = func(w *world) []string {
		bad := slices.DeleteFunc(w.Unsound(3, out...), func(b string) bool { return strings.Contains(b, "although it is on record") })
		if got := w.Get(keptKey); got != keptValue {
			bad = append(bad, fmt.Sprintf("etcd has lost its data: %q", got))
		}
		for _, i := range installed {
			for name, text := range foreign() {
				if got := w.Machines()[i].Text(name); got != text {
					bad = append(bad, fmt.Sprintf("%s: %s is %q", w.Machines()[i].IP, name, got))
				}
			}
		}
		for end := time.Now().Add(w.timeout); ; time.Sleep(w.Pace.Pod) {
			web, db := w.Pods("shop", "web"), w.Pods("shop", "db")
			if len(web) == 2 && len(db) == 1 {
				break
			}
			if time.Now().After(end) {
				bad = append(bad, fmt.Sprintf("pods run at %v and %v", web, db))
				break
			}
		}
		return bad
	}
	done := w.clone(t, memoryDir(t))
	done.Arm(nil)
	if _, err := done.run(t.Context(), pipeline); err != nil {
		t.Fatal(err)
	}
	events := done.Trace()
	done.verb, done.dead = adds(), false
	if changes, err := done.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("a further run: %d changes, %v", changes, err)
	}
	k.made = done.trees(t)
	if bad := k.sound(done); len(bad) > 0 {
		t.Fatalf("undisturbed:\n%s", strings.Join(bad, "\n"))
	}
	return k, events
}

// memberFaults kills the installer and agents at every change on every host, or at some of them, and takes the power of any
// machine at random events.
func memberFaults(t *testing.T, w *world, events []stepstest.Event) []*stepstest.Fault {
	t.Helper()
	var list, cuts []*stepstest.Fault
	for i, e := range events {
		change := e.Kind == "step" || e.Kind == "after" || e.Kind == "put"
		if change && (everyFault() || i%199 == 0) {
			list = append(list, &stepstest.Fault{Kind: stepstest.InstallerDies, At: e}, &stepstest.Fault{Kind: stepstest.AgentDies, At: e})
		}
	}
	t.Logf("%d events", len(events))
	source := rand.New(rand.NewPCG(2026, 13))
	n := 4
	if everyFault() {
		n = 200
	}
	for range n {
		kind := []stepstest.FaultKind{stepstest.PowerCut, stepstest.Reboot}[source.IntN(2)]
		cuts = append(cuts, &stepstest.Fault{Kind: kind, At: events[source.IntN(len(events))], On: w.Machines()[source.IntN(len(w.Machines()))].IP})
	}
	return append(list, cuts...)
}

func TestAddSurvivesEveryFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := memberKills(t, []int{0, 3}, nil, Install(), adds(1, 2, 4))
		k.all(t, memberFaults(t, k.begin, events))
	})
}

func TestDeleteOfLivingHostsSurvivesEveryFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := memberKills(t, []int{0, 1, 2, 3, 4}, nil, Delete(), deletes(2, 3), 2, 3)
		k.all(t, memberFaults(t, k.begin, events))
	})
}

func TestDeleteOfTheFirstMasterSurvivesEveryFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := memberKills(t, []int{0, 1, 2, 3, 4}, nil, Delete(), deletes(0), 0)
		k.all(t, memberFaults(t, k.begin, events))
	})
}

func TestDeleteOfDeadHostsSurvivesEveryFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, events := memberKills(t, []int{0, 1, 2, 3, 4}, []int{0, 4}, Delete(), deletes(0, 4), 0, 4)
		k.all(t, memberFaults(t, k.begin, events))
	})
}
