package steps

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// snapshotsOf are the files in a master's directory of snapshots. It is an error if one of them is not whole.
func snapshotsOf(m *stepstest.Machine) (names []string, err error) {
	found, err := filepath.Glob(filepath.Join(m.Root(), "var/lib/sealos/data/default/snapshots/*"))
	for _, name := range found {
		data, rerr := os.ReadFile(name)
		sum := sha256.Sum256(data[:max(0, len(data)-sha256.Size)])
		if rerr != nil || !strings.HasSuffix(string(data), string(sum[:])) {
			err = fmt.Errorf("%s is not whole: %d bytes, %v", name, len(data), rerr)
		}
		names = append(names, filepath.Base(name))
	}
	return names, err
}

func TestEveryMasterSavesWhatEtcdHolds(t *testing.T) {
	w := livingCluster(t, 3, 0)
	w.mustInstall(t)
	r := w.openRun(t)
	u := members.Upgrade{From: "v1.35.0", To: "v1.36.3", At: time.Date(2026, 11, 30, 14, 47, 16, 0, time.UTC)}
	dir := r.Dir("snapshots")
	for i, host := range r.Targets {
		got, err := r.members.Save(t.Context(), host, dir, u)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(w.Machines()[i].Root(), got.Path))
		if err != nil {
			t.Fatal(err)
		}
		want := members.Saved{
			Path: "/var/lib/sealos/data/default/snapshots/etcd-v1.35.0-to-v1.36.3-20261130T144716Z.db", Bytes: int64(len(text)),
			SHA256: fmt.Sprintf("%x", sha256.Sum256(text)), Etcd: "3.6.8", Revision: 2,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host.IP, diff)
		}
		if !strings.Contains(string(text), keptValue) {
			t.Errorf("%s: the snapshot lacks what the site put into etcd", host.IP)
		}
		if size, err := r.members.DatabaseSize(t.Context(), host); err == nil {
			t.Errorf("%s: a size of %d of a database that nobody filled", host.IP, size)
		}
	}
	w.Fill(5 << 20)
	if size, err := r.members.DatabaseSize(t.Context(), r.Targets[1]); size != 5<<20 || err != nil {
		t.Errorf("the database has %d bytes: %v", size, err)
	}
	w.Machines()[1].StopKubelet()
	w.Machines()[1].EndContainer("etcd", "panic")
	u.At = u.At.Add(time.Hour)
	if _, err := r.members.Save(t.Context(), r.Targets[1], dir, u); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("of a member that is down: %v", err)
	}
	if names, err := snapshotsOf(w.Machines()[1]); len(names) != 1 || err != nil {
		t.Errorf("then there are %v, %v", names, err)
	}
}

// TestASnapshotCutAnywhereIsWholeOrNotThere cuts a host's power at every event of a snapshot there. With SIM_FAULTS=all it is hit
// in the other ways, too.
func TestASnapshotCutAnywhereIsWholeOrNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := livingCluster(t, 2, 0)
		begin.mustInstall(t)
		first := members.Upgrade{From: "v1.35.0", To: "v1.36.3", At: time.Date(2026, 11, 30, 14, 47, 16, 0, time.UTC)}
		second := first
		second.At = first.At.Add(time.Hour)
		save := func(w *world, u members.Upgrade) error {
			_, err := w.run(t.Context(), withSteps(onAll("snapshot", func(ctx context.Context, r *Run, t *fleet.Target) (int, error) {
				_, err := r.members.Save(ctx, t, r.Dir("snapshots"), u)
				return 1, err
			})))
			return err
		}
		w := begin.clone(t, memoryDir(t))
		w.Arm(nil)
		if err := save(w, first); err != nil {
			t.Fatal(err)
		}
		events := slices.DeleteFunc(w.Trace(), func(e stepstest.Event) bool {
			return !strings.Contains(e.What, "snapshot") || e.Host != w.Machines()[1].IP
		})
		if len(events) < 5 {
			t.Fatalf("only %d events: %v", len(events), events)
		}
		kinds := []stepstest.FaultKind{stepstest.PowerCut}
		if everyFault() {
			kinds = append(kinds, stepstest.InstallerDies, stepstest.AgentDies, stepstest.LinkCut, stepstest.DiskFull)
		}
		for _, kind := range kinds {
			for _, e := range events {
				w := begin.clone(t, memoryDir(t))
				w.Arm(&stepstest.Fault{At: e, Kind: kind})
				if err := save(w, first); err == nil && kind != stepstest.LinkCut && kind != stepstest.DiskFull {
					t.Errorf("%v at %v: nothing happened", kind, e)
				}
				for _, m := range w.Machines() {
					if _, err := snapshotsOf(m); err != nil {
						t.Errorf("%v at %v: %v", kind, e, err)
					}
				}
				w.Repair()
				w.Arm(nil)
				if err := installer.Insist(t.Context(), w.timeout, func(context.Context) error { return save(w, second) }); err != nil {
					t.Errorf("%v at %v: afterwards: %v", kind, e, err)
				}
				for _, m := range w.Machines() {
					if names, err := snapshotsOf(m); err != nil || len(names) > members.Kept || !slices.Contains(names, second.Name()) {
						t.Errorf("%v at %v: afterwards %v, %v", kind, e, names, err)
					}
				}
			}
		}
	})
}

func TestLeadershipLeavesTheMasterWhoseTurnItIs(t *testing.T) {
	w := livingCluster(t, 3, 0)
	w.mustInstall(t)
	r := w.openRun(t)
	settled := func(i int) error {
		return installer.Insist(t.Context(), w.timeout, func(ctx context.Context) error { return r.members.CaughtUp(ctx, r.Targets[i]) })
	}
	for i, host := range r.Targets {
		if err := settled(i); err != nil {
			t.Fatal(err)
		}
		if err := r.members.GiveUpLeadership(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		out, err := w.Machines()[i].Command(t.Context(), "", "/var/lib/sealos/bin/sealinstall", "etcd", "own")
		if err != nil || strings.Contains(out, `"leads":true`) {
			t.Errorf("%s leads: %s %v", host.IP, out, err)
		}
	}
	v, err := r.members.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := members.Versions{Cluster: "3.6.0", Members: map[string]string{}}
	for _, m := range w.Machines() {
		want.Members[m.IP] = "3.6.8"
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.Machines()[2].PowerOff()
	w.Repair()
	if err := r.members.CaughtUp(t.Context(), r.Targets[2]); err == nil {
		t.Error("a member that has just come back counts as caught up")
	}
	if err := settled(2); err != nil {
		t.Error(err)
	}
	w.Fill(1<<30, "NOSPACE")
	if err := r.members.CaughtUp(t.Context(), r.Targets[0]); err == nil || !strings.Contains(err.Error(), "NOSPACE") {
		t.Errorf("with an alarm: %v", err)
	}
}

func TestTheOnlyMasterKeepsTheLeadership(t *testing.T) {
	w := livingCluster(t, 1, 1)
	r := w.openRun(t)
	if err := r.members.GiveUpLeadership(t.Context(), r.Targets[0]); err != nil {
		t.Error(err)
	}
	if err := installer.Insist(t.Context(), w.timeout, func(ctx context.Context) error { return r.members.CaughtUp(ctx, r.Targets[0]) }); err != nil {
		t.Error(err)
	}
}
