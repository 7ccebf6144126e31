package steps

import (
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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

const simLock = "/run/sealos-default.lock"

// lockedNow are the places of the machines whose lock is held.
func (w *world) lockedNow() (out []int) {
	for i, m := range w.Machines() {
		if text, err := os.ReadFile(filepath.Join(m.Root(), simLock)); err == nil && len(text) > 0 {
			out = append(out, i)
		}
	}
	return out
}

func TestARunThatGoesOnWithoutAMasterHasTheLocksOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 1)
		if err := w.Machines()[0].Write(simLock+"/in the way", "x"); err != nil {
			t.Fatal(err)
		}
		var locked []int
		w.confirm = func([]leaving.Loss) error {
			locked = w.lockedNow()
			return errors.New("no")
		}
		if _, err := w.command(t, Delete(), deletes(3), false); err == nil || !strings.Contains(err.Error(), "no") {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 2}, locked); diff != "" {
			t.Errorf("locked while it works: %s", diff)
		}
		if got := w.lockedNow(); len(got) > 0 {
			t.Errorf("locked once it has ended: %v", got)
		}
	})
}

// onlyFirst is a command on the first master that has no record of its own.
func onlyFirst(w *world) (*installer.Cluster, error) {
	return &installer.Cluster{Hosts: w.hosts()[:1]}, nil
}

func TestMastersThatTheRecordOfAnotherNamesAreLockedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 1)
		w.dir, w.jobs = t.TempDir(), 1
		var mu sync.Mutex // hosts are asked side by side
		seen := map[int]bool{}
		w.Latency = func(string) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			for _, i := range w.lockedNow() {
				seen[i] = true
			}
			return 0
		}
		if _, err := w.command(t, Install(), onlyFirst, false); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[int]bool{0: true, 1: true, 2: true}, seen); diff != "" {
			t.Errorf("locked while it worked: %s", diff)
		}
	})
}

func TestTwoThatBeginAtDifferentMastersAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := filled(t, 3, 1)
		w.dir = t.TempDir()
		f, err := os.OpenFile(filepath.Join(w.Machines()[2].Root(), simLock), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(f, "process 4711 on host-3 since today"); err != nil {
			t.Fatal(err)
		}
		before := w.trees(t)
		_, err = w.command(t, Install(), onlyFirst, false)
		pre, refused := errors.AsType[*preflight.Error](err)
		if !refused || !slices.ContainsFunc(pre.Problems, func(p preflight.Problem) bool {
			return p.Check == "lock" && p.Host == w.Machines()[2].IP && strings.Contains(p.Message, "being worked on by another sealinstall (process 4711 on host-3")
		}) {
			t.Fatalf("it is told %v", err)
		}
		for i, tree := range w.trees(t) {
			if diff := differences(before[i], tree); len(diff) > 0 {
				t.Errorf("host %d was changed: %v", i+1, diff)
			}
		}
	})
}
