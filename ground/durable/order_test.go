package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// watched is a disk that notes what is asked of it and what the path holds at that moment, and that can fail at a step.
type watched struct {
	t     *testing.T
	path  string
	fail  string
	steps []string
}

func (w *watched) disk() disk { return disk{w.sync, w.rename, w.syncDir} }

var errBroken = errors.New("the disk is broken")

func (w *watched) step(name string) error {
	w.steps = append(w.steps, name+" while it is "+content(w.t, w.path))
	if name == w.fail {
		return errBroken
	}
	return nil
}

func (w *watched) sync(f *os.File) error {
	return errors.Join(w.step("sync of "+content(w.t, f.Name())), f.Sync())
}

func (w *watched) rename(from, to string) error {
	if err := w.step("rename"); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (w *watched) syncDir(dir string) error {
	return errors.Join(w.step("sync of the directory"), SyncDir(dir))
}

// A power cut between two steps finds the file as it is then.
func TestContentIsOnTheDiskBeforeTheNameAndTheNameAtLast(t *testing.T) {
	w := &watched{t: t, path: before(t)}
	if err := write(w.disk(), w.path, []byte("after"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"sync of after while it is before", "rename while it is before", "sync of the directory while it is after"}
	if diff := cmp.Diff(want, w.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestStepThatFailsLeavesTheOldFileWhole(t *testing.T) {
	for _, fail := range []string{"sync of after", "rename"} {
		t.Run(fail, func(t *testing.T) {
			w := &watched{t: t, path: before(t), fail: fail}
			err := write(w.disk(), w.path, []byte("after"), 0o600)
			if !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "write "+w.path+": ") {
				t.Errorf("error %v", err)
			}
			wantBefore(t, w.path)
		})
	}
}

func TestDirectoryThatIsNotSyncedIsAnError(t *testing.T) {
	w := &watched{t: t, path: before(t), fail: "sync of the directory"}
	if err := write(w.disk(), w.path, []byte("after"), 0o600); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"file"}, names(t, filepath.Dir(w.path))); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
	if got := content(t, w.path); got != "after" {
		t.Errorf("content %q", got)
	}
}
