package steps

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// TestNoSecondClusterIsStartedBesideARecordedOne has the masters of a cluster where the run does not look: they are left out since
// they do not answer, as apply does, or not named, while the host that is named has lost its disk or is new.
func TestNoSecondClusterIsStartedBesideARecordedOne(t *testing.T) {
	away := func(verb func(*world) (*installer.Cluster, error), places ...int) func(*world) (*installer.Cluster, error) {
		return func(w *world) (*installer.Cluster, error) {
			c, err := verb(w)
			for _, i := range places {
				c.Hosts[i].Away = true
			}
			return c, err
		}
	}
	for name, c := range map[string]struct {
		made int // masters
		do   func(t *testing.T, w *world)
		verb func(*world) (*installer.Cluster, error)
		says string
	}{
		"the only master is dead, and a new one is in the file": {1, func(_ *testing.T, w *world) { w.Machines()[0].PowerOff() }, adds(1), "would start a second one"},
		"a new master is named, the recorded one is not":        {1, func(*testing.T, *world) {}, away(adds(1), 0), "would start a second one"},
		"a master that lost its disk is named, the others are not": {3, func(t *testing.T, w *world) {
			if err := w.Machines()[2].Replace(); err != nil {
				t.Fatal(err)
			}
		}, away(adds(), 0, 1), "would start a second one"},
		"all are dead": {3, func(_ *testing.T, w *world) {
			for _, m := range w.Machines() {
				m.PowerOff()
			}
		}, adds(), "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memoryDir(t), simBundle(t), 3, 0)
				w.take = c.made
				if _, err := w.run(t.Context(), Install()); err != nil {
					t.Fatal(err)
				}
				c.do(t, w)
				w.take, w.lax = 0, true
				before := w.trees(t)
				_, err := w.command(t, Install(), c.verb, false)
				if _, refused := errors.AsType[*preflight.Error](err); !refused || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it is told %v", err)
				}
				for i, tree := range w.trees(t) {
					if diff := differences(before[i], tree); len(diff) > 0 {
						t.Errorf("host %d was changed: %v", i+1, diff)
					}
				}
			})
		})
	}
}

// TestAMasterThatWasAwayDoesNotBringBackWhatItsRecordHas begins at a master that has missed a delete, from a machine without a
// record.
func TestAMasterThatWasAwayDoesNotBringBackWhatItsRecordHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 2)
		away := w.Machines()[2]
		away.PowerOff()
		w.noticed(t)
		time.Sleep(2 * time.Second) // records tell seconds
		if _, err := w.command(t, Delete(), deletes(4), false); err != nil {
			t.Fatal(err)
		}
		away.PowerOn()
		if err := w.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.dir = t.TempDir()
		if _, err := w.command(t, Install(), func(w *world) (*installer.Cluster, error) {
			return &installer.Cluster{Hosts: []installer.Host{w.hostAt(2)}}, nil
		}, false); err != nil {
			t.Fatal(err)
		}
		if w.Machines()[4].Has("/etc/kubernetes/kubelet.conf") {
			t.Error("a host that was taken out is in again")
		}
		w.mustBeSound(t, 4)
	})
}
