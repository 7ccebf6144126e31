package steps

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
)

// prunes is the command that makes the cluster what a file says that names machines, by their places, and prunes.
func prunes(places ...int) func(w *world) (*installer.Cluster, error) {
	return func(w *world) (*installer.Cluster, error) {
		c, err := adds(places...)(w)
		if err != nil {
			return nil, err
		}
		var leave []installer.Address
		for _, h := range c.Hosts {
			if !slices.ContainsFunc(places, func(i int) bool { return w.hostAt(i).IP == h.IP }) {
				leave = append(leave, installer.Address{IP: h.IP})
			}
		}
		return c, c.Take(leave)
	}
}

func TestOneApplyReplacesHosts(t *testing.T) {
	for name, dead := range map[string]bool{"that live": false, "that are dead": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memoryDir(t), simBundle(t), 4, 3)
				all := w.hosts()
				w.named = slices.Concat(all[:3], all[4:6]) // masters 1 to 3, nodes 5 and 6
				if _, err := w.run(t.Context(), Install()); err != nil {
					t.Fatal(err)
				}
				if err := w.Put(keptKey, keptValue); err != nil {
					t.Fatal(err)
				}
				w.named = nil
				if dead {
					w.Machines()[0].PowerOff()
					w.Machines()[4].PowerOff()
					w.noticed(t)
				}
				var told bytes.Buffer
				w.told = &told
				w.mustCommand(t, Apply(), prunes(1, 2, 3, 5, 6), dead, 0, 4) // the first master and a node are other machines now
				for _, line := range []string{"+ add master 10.77.0.4", "+ add node 10.77.0.7", "- delete master 10.77.0.1", "- delete node 10.77.0.5"} {
					if !strings.Contains(told.String(), line) {
						t.Errorf("it does not tell %q before:\n%s", line, told.String())
					}
				}
				w.told = nil
				if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
					t.Errorf("a further run: %d changes, %v", changes, err)
				}
			})
		})
	}
}

func TestAHostThatAnotherMachineTookOutIsNotBroughtBackByAnOldRecord(t *testing.T) {
	w := filled(t, 1, 2)
	file := filepath.Join(w.dir, ledger.ClusterfileName)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Records tell their time in seconds; that of this machine was written long ago.
	stale := bytes.ReplaceAll(old, heartbeat(t, old), []byte("2026-01-02T03:04:05Z"))
	w.mustCommand(t, Delete(), deletes(2), false, 2)
	if err := os.WriteFile(file, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	w.told = &told
	if changes, err := w.command(t, Install(), adds(), false); err != nil || changes != 0 {
		t.Errorf("a run by the old record: %d changes, %v", changes, err)
	}
	if want := "10.77.0.3: taken out of cluster default from another machine"; !strings.Contains(told.String(), want) {
		t.Errorf("it does not tell %q:\n%s", want, told.String())
	}
	w.mustBeSound(t, 2)
	w.mustCommand(t, Install(), adds(2), false) // it is taken in where it is named
}

// heartbeat is the time in a record.
func heartbeat(t *testing.T, record []byte) []byte {
	t.Helper()
	for line := range bytes.Lines(record) {
		if _, text, ok := bytes.Cut(line, []byte("lastHeartbeatTime:")); ok {
			return bytes.Trim(text, " \"\n")
		}
	}
	t.Fatalf("no time in\n%s", record)
	return nil
}
