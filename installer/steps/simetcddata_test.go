package steps

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestForeignFilesInEtcdsDirectoryAreRefusedOnEveryHostAndStay(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	for _, m := range w.Machines()[1:] {
		if err := m.Write("/var/lib/etcd/snapshot.db", "an operator's"); err != nil {
			t.Fatal(err)
		}
	}
	before := w.trees(t)
	_, err := w.run(t.Context(), Install())
	var pre *preflight.Error
	if !errors.As(err, &pre) {
		t.Fatalf("the command = %v", err)
	}
	var hosts []string
	for _, p := range pre.Problems {
		if p.Check == "etcd" && strings.Contains(p.Message, "snapshot.db") && strings.Contains(p.Remedy, "move it away") {
			hosts = append(hosts, p.Host)
		}
	}
	if diff := cmp.Diff([]string{w.Machines()[1].IP, w.Machines()[2].IP}, hosts); diff != "" {
		t.Errorf("hosts told (-want +got):\n%s\n%v", diff, err)
	}
	if diff := cmp.Diff(before, w.trees(t)); diff != "" {
		t.Errorf("hosts were changed:\n%s", diff)
	}
	if slices.Contains(preflight.Checks(), "etcd") {
		t.Error("the check can be ignored")
	}
}

func TestFilesThatAppearInEtcdsDirectoryDuringAnInstallationAreNotRemoved(t *testing.T) {
	const file = "/var/lib/etcd/snapshot.db"
	w := livingCluster(t, 2, 1)
	// The first run ends before kubeadm begins.
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: w.Machines()[1].IP, Kind: "step", What: "script begins: init.sh", N: 1}})
	_, _ = w.run(t.Context(), Install())
	if _, ok := w.Fired(); !ok {
		t.Fatal("nothing was cut")
	}
	w.Arm(nil)
	if err := w.Machines()[1].Write(file, "an operator's"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := w.run(t.Context(), Install())
		if err == nil || !strings.Contains(err.Error(), "/var/lib/etcd holds snapshot.db") || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("the command = %v", err)
		}
		if w.Machines()[1].Text(file) != "an operator's" {
			t.Fatal("the file is gone")
		}
	}
}

func TestResetKeepsWhatWasPutBesideEtcdsData(t *testing.T) {
	const file = "/var/lib/etcd/snapshot.db"
	w := livingCluster(t, 2, 1)
	w.mustInstall(t)
	for _, m := range w.Machines() { // the worker never had an etcd
		if err := m.Write(file, "an operator's"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		if m.Text(file) != "an operator's" || m.Has("/var/lib/etcd/member") {
			t.Errorf("%s: %s is %q, member there: %v", m.IP, file, m.Text(file), m.Has("/var/lib/etcd/member"))
		}
	}
}

func TestAMountPointWithLostAndFoundTakesEtcdsData(t *testing.T) {
	for _, c := range []struct {
		name  string
		mount []int // machines
		first bool  // before there is a cluster
		data  string
	}{
		{"of all masters", []int{0, 1, 2}, true, "/var/lib/etcd/data"},
		{"of one master", []int{1}, true, "/var/lib/etcd/data"},
		{"of a master that comes later", []int{1}, false, "/var/lib/etcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
				if !c.first {
					w = livingCluster(t, 3, 1)
				}
				for _, i := range c.mount {
					if err := w.Machines()[i].Mount("/var/lib/etcd"); err != nil {
						t.Fatal(err)
					}
				}
				before := w.trees(t)
				if _, err := w.run(t.Context(), Install()); err != nil {
					t.Fatal(err)
				}
				bad := slices.DeleteFunc(w.Unsound(3), func(b string) bool { return strings.Contains(b, "although it is on record") })
				if len(bad) > 0 {
					t.Error(bad)
				}
				for _, m := range w.Machines()[:3] {
					if !m.Has(c.data + "/member/id") {
						t.Errorf("%s: no data in %s", m.IP, c.data)
					}
				}
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
					t.Errorf("a further run: %d changes, %v", changes, err)
				}
				if _, err := w.run(t.Context(), Reset()); err != nil {
					t.Fatal(err)
				}
				for i, tree := range w.trees(t) {
					if diff := differences(before[i], tree); len(diff) > 0 && (c.first || i > 0) {
						t.Errorf("host %d after the reset:\n%s", i+1, strings.Join(diff, "\n"))
					}
				}
			})
		})
	}
}

func TestTheOperatorsDirectoryForEtcdIsHonouredEverywhere(t *testing.T) {
	const doc = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd:\n  local:\n    dataDir: /data/etcd\n"
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	w.docs = [][]byte{[]byte(doc)}
	third := w.Machines()[1]
	if err := third.Write("/data/etcd/older", "foreign"); err != nil {
		t.Fatal(err)
	}
	var pre *preflight.Error
	if _, err := w.run(t.Context(), Install()); !errors.As(err, &pre) || !strings.Contains(err.Error(), "/data/etcd holds older") {
		t.Fatalf("with a foreign file: %v", err)
	}
	if err := third.Replace(); err != nil {
		t.Fatal(err)
	}
	before := w.trees(t)
	w.cutJoin(t, stepstest.AgentDies, third.IP, "join: register node")
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if bad := w.Unsound(2); len(bad) > 0 || !third.Has("/data/etcd/member/id") {
		t.Errorf("%v, data at the place: %v", bad, third.Has("/data/etcd/member/id"))
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("host %d after the reset:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
}
