package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// newHost gives the journal of a host that exists in this process, and the host's files. changes counts the files that
// are written and removed there.
func newHost(t *testing.T) (j *Journal, m *agenttest.Machine, changes *int) {
	t.Helper()
	changes = new(int)
	m = &agenttest.Machine{Root: t.TempDir(), Change: func(_ string, at agenttest.Moment) error {
		if at == agenttest.Before || at == agenttest.Removing {
			*changes++
		}
		return nil
	}}
	j = &Journal{}
	j.Open("default", m.Agent("/stub"))
	return j, m, changes
}

// onHost reads the marks that are set on a host.
func onHost(t *testing.T, m *agenttest.Machine) map[string]string {
	t.Helper()
	other := &Journal{}
	other.Open("default", m.Agent("/stub"))
	if _, err := other.Read(t.Context(), Marks()); err != nil {
		t.Fatal(err)
	}
	return other.marks
}

func set(t *testing.T, j *Journal, mark, inputs string) {
	t.Helper()
	if err := j.Set(t.Context(), mark, inputs); err != nil {
		t.Fatal(err)
	}
}

func TestWorkIsDoneOnceForItsInputs(t *testing.T) {
	j, m, changes := newHost(t)
	ran := 0
	work := func(*Work) error { ran++; return nil }
	for range 2 {
		if _, err := j.Under(t.Context(), Init, "a", work); err != nil {
			t.Fatal(err)
		}
	}
	if did, err := j.Under(t.Context(), Init, "b", work); !did || err != nil {
		t.Errorf("with other inputs: %v, %v", did, err)
	}
	if diff := cmp.Diff(map[string]string{Init: "b"}, onHost(t, m)); diff != "" || ran != 2 {
		t.Errorf("ran %d times; marks (-want +got):\n%s", ran, diff)
	}
	if *changes != 3 { // a is set, taken back, b is set
		t.Errorf("%d changes on the host", *changes)
	}
}

func TestAMarkOfOtherInputsIsTakenBackBeforeTheWork(t *testing.T) {
	j, m, _ := newHost(t)
	set(t, j, Init, "a")
	set(t, j, Begun, "default")
	broken := errors.New("broken")
	did, err := j.Under(t.Context(), Init, "b", func(*Work) error {
		if diff := cmp.Diff(map[string]string{Begun: "default"}, onHost(t, m)); diff != "" {
			t.Errorf("marks during the work (-want +got):\n%s", diff)
		}
		return broken
	})
	if !did || !errors.Is(err, broken) {
		t.Errorf("did %v, error %v", did, err)
	}
	if diff := cmp.Diff(map[string]string{Begun: "default"}, onHost(t, m)); diff != "" || j.Has(Init) {
		t.Errorf("marks after work that failed (-want +got):\n%s", diff)
	}
	// What was done before is done again: its mark is gone, too.
	if did, err := j.Under(t.Context(), Init, "a", func(*Work) error { return nil }); !did || err != nil {
		t.Errorf("with the inputs of before: did %v, error %v", did, err)
	}
}

func TestWorkDoesNotBeginIfTheOldMarkStays(t *testing.T) {
	j, m, _ := newHost(t)
	set(t, j, Init, "a")
	m.Change = func(string, agenttest.Moment) error { return errors.New("the disk does not answer") }
	did, err := j.Under(t.Context(), Init, "b", func(*Work) error { t.Error("the work began"); return nil })
	if did || err == nil || !j.Is(Init, "a") {
		t.Errorf("did %v, error %v, mark %q", did, err, j.Of(Init))
	}
}

func TestAMarkThatTellsHowFarTheWorkCameStays(t *testing.T) {
	for have, stays := range map[string]bool{"a/2": true, "a": false, "ab/2": false} {
		j, m, _ := newHost(t)
		set(t, j, Init, have)
		inputs := "a"
		if have == "a" {
			inputs = "a/2" // which is no progress of a/2
		}
		if _, err := j.Under(t.Context(), Init, inputs, func(*Work) error { return errors.New("broken") }); err == nil {
			t.Error("no error")
		}
		if _, there := onHost(t, m)[Init]; there != stays {
			t.Errorf("%s for %s: there %v", have, inputs, there)
		}
	}
}

func TestTheHostSetsAMarkThatItWasGiven(t *testing.T) {
	j, m, changes := newHost(t)
	did, err := j.Under(t.Context(), Init, "a", func(w *Work) error {
		f := w.ByHost()
		if diff := cmp.Diff(agent.File{Path: j.Path(Init), Mode: 0o600, Content: []byte("a\n")}, f); diff != "" {
			t.Errorf("the mark (-want +got):\n%s", diff)
		}
		return nil
	})
	if !did || err != nil || *changes != 0 {
		t.Errorf("did %v, error %v, %d changes on the host", did, err, *changes)
	}
	// The journal believes the host, which reports the end of the work only after it has set the mark.
	if !j.Is(Init, "a") || len(onHost(t, m)) != 0 {
		t.Errorf("mark %q, on the host %v", j.Of(Init), onHost(t, m))
	}
}

func TestDropOfWhatIsNotThereWritesNothing(t *testing.T) {
	j, m, changes := newHost(t)
	set(t, j, Begun, "default")
	*changes = 0
	if err := j.Drop(t.Context(), Init, KubeadmDone); err != nil || *changes != 0 {
		t.Errorf("error %v, %d changes on the host", err, *changes)
	}
	if err := j.Drop(t.Context(), Init, Begun); err != nil || *changes != 1 || !j.Empty() || len(onHost(t, m)) != 0 {
		t.Errorf("error %v, %d changes on the host, left %v", err, *changes, onHost(t, m))
	}
}

func TestReadForgetsWhatIsGone(t *testing.T) {
	j, m, _ := newHost(t)
	set(t, j, Begun, "default")
	set(t, j, Init, "a")
	if err := os.Remove(filepath.Join(m.Root, j.Path(Init))); err != nil {
		t.Fatal(err)
	}
	found, err := j.Read(t.Context(), Marks(), "/etc/absent", j.Path(Begun))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{j.Path(Begun): []byte("default\n")}, found); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{Begun: "default"}, j.marks); diff != "" || j.Has(Init) {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}

func TestReadThatFailsKeepsWhatIsKnown(t *testing.T) {
	j, _, _ := newHost(t)
	set(t, j, Begun, "default")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Read(ended, Marks()); err == nil || !j.Has(Begun) {
		t.Errorf("error %v, mark %q", err, j.Of(Begun))
	}
}
