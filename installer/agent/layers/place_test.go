package layers_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
)

// simulated is an agent of a machine whose files lie below root, and which stops at an error of change.
func simulated(root string, change func(name string, at agenttest.Moment) error) *agent.Agent {
	return (&agenttest.Machine{Root: root, Change: change}).Agent("stub")
}

// put brings layers to a directory as an installer does, and tells whether it was sent anything.
func put(ctx context.Context, a *agent.Agent, dir string, list ...[]byte) (sent int, err error) {
	q := agent.Layers{Dir: dir, Exclude: []string{"registry"}}
	for _, l := range list {
		q.Digests = append(q.Digests, digest.FromBytes(l))
	}
	place, err := a.PrepareLayers(ctx, q)
	if err != nil {
		return 0, err
	}
	for n := place.Have; n < len(list); n++ {
		sent++
		err := a.Unpack(ctx, agent.UnpackRequest{
			Dir: dir, Beside: place.Beside, Digest: q.Digests[n], Format: "tar", Upon: q.Digests[:n], Exclude: q.Exclude,
		}, bytes.NewReader(list[n]))
		if err != nil {
			return sent, err
		}
	}
	if place.Beside {
		err = a.SwitchLayers(ctx, q)
	}
	return sent, err
}

// someLayers are a below, which b and c lie upon.
func someLayers(t testing.TB) (a, b, c []byte) {
	return layers.Archive(t, layers.Entry{Name: "x", Body: "a"}, layers.Entry{Name: "of-a", Body: "a"}),
		layers.Archive(t, layers.Entry{Name: "x", Body: "b"}, layers.Entry{Name: "of-b/deep", Body: "b"}, layers.Entry{Name: ".wh.of-a"}),
		layers.Archive(t, layers.Entry{Name: "x", Body: "c"}, layers.Entry{Name: "of-c", Body: "c"})
}

func TestADirectoryHoldsTheLayersOfItsListAndNothingElse(t *testing.T) {
	a, b, c := someLayers(t)
	root := filestest.Root(t)
	on := simulated(root, nil)
	onlyA, aAndB, aAndC := []string{"of-a=a", "x=a"}, []string{"of-b/", "of-b/deep=b", "x=b"}, []string{"of-a=a", "of-c=c", "x=c"}
	for i, step := range []struct {
		layers [][]byte
		sent   int
		want   []string
	}{
		{[][]byte{a}, 1, onlyA},
		{[][]byte{a}, 0, onlyA},     // the same
		{[][]byte{a, b}, 1, aAndB},  // one more upon it
		{[][]byte{a, c}, 2, aAndC},  // another: nothing of b stays
		{[][]byte{a, b}, 2, aAndB},  // and back: nothing of c stays, and what b takes away is not there
		{[][]byte{a}, 1, onlyA},     // less
		{[][]byte{a, b, c}, 2, nil}, // more than one upon it
		{[][]byte{c, b}, 2, []string{"of-b/", "of-b/deep=b", "of-c=c", "x=b"}},
	} {
		sent, err := put(t.Context(), on, "/data/rootfs", step.layers...)
		if err != nil {
			t.Fatal(err)
		}
		if sent != step.sent {
			t.Errorf("step %d: %d layers were sent, want %d", i, sent, step.sent)
		}
		if step.want != nil {
			if diff := cmp.Diff(step.want, layers.Tree(t, filepath.Join(root, "data/rootfs"))); diff != "" {
				t.Errorf("step %d: %s", i, diff)
			}
		}
		if left, err := os.ReadDir(filepath.Join(root, "data")); err != nil || len(left) != 1 {
			t.Errorf("step %d: %v, %v", i, left, err)
		}
	}
}

// TestASwitchThatIsKilledAnywhereIsFinishedOrDoneAgain kills the agent at each of its changes on the way from one list to
// another, and then wants the new list, or the old one, or a third.
func TestASwitchThatIsKilledAnywhereIsFinishedOrDoneAgain(t *testing.T) {
	a, b, c := someLayers(t)
	lists := map[string][][]byte{"the new": {a, c}, "the old": {a, b}, "a third": {b}, "one more": {a, c, b}, "its beginning": {a}}
	want := map[string][]string{}
	for name, list := range lists {
		root := filestest.Root(t)
		if _, err := put(t.Context(), simulated(root, nil), "/data/rootfs", list...); err != nil {
			t.Fatal(err)
		}
		want[name] = append(layers.Tree(t, filepath.Join(root, "data/rootfs")), "registry/", "registry/mine=kept")
		slices.Sort(want[name])
	}
	for _, mounted := range []bool{false, true} {
		for name, list := range lists {
			for moment := 1; ; moment++ {
				root := filestest.Root(t)
				if mounted {
					filestest.Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\nb /data/rootfs tmpfs rw 0 0\n", 0o600)
				}
				dir := filepath.Join(root, "data/rootfs")
				if _, err := put(t.Context(), simulated(root, nil), "/data/rootfs", a, b); err != nil {
					t.Fatal(err)
				}
				filestest.Write(t, filepath.Join(dir, "registry/mine"), "kept", 0o600)
				filestest.Write(t, filepath.Join(dir, "of-b/deep"), "changed in place", 0o600)
				n := 0
				killed := simulated(root, func(string, agenttest.Moment) error {
					if n++; n >= moment {
						return errors.New("killed")
					}
					return nil
				})
				_, err := put(t.Context(), killed, "/data/rootfs", a, c)
				if err == nil {
					break
				}
				if _, err := put(t.Context(), simulated(root, nil), "/data/rootfs", list...); err != nil {
					t.Fatalf("killed at change %d, then %s: %v", moment, name, err)
				}
				got := layers.Tree(t, dir)
				// A run that was killed before it touched the old one found all as it was.
				if name == "the old" {
					for i := range got {
						got[i] = strings.Replace(got[i], "changed in place", "b", 1)
					}
				}
				if diff := cmp.Diff(want[name], got); diff != "" {
					t.Errorf("mounted %v, killed at change %d, then %s: %s", mounted, moment, name, diff)
				}
				if left, err := os.ReadDir(filepath.Join(root, "data")); err != nil || len(left) != 1 {
					t.Errorf("mounted %v, killed at change %d, then %s: %v, %v", mounted, moment, name, left, err)
				}
			}
		}
	}
}

// TestWhatWasInUseIsNeverTakenForNew switches, dies before the old directory is gone, and goes back: what scripts changed
// in it meanwhile must not come back with it.
func TestWhatWasInUseIsNeverTakenForNew(t *testing.T) {
	a, b, c := someLayers(t)
	root := filestest.Root(t)
	if _, err := put(t.Context(), simulated(root, nil), "/data/rootfs", a, b); err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, filepath.Join(root, "data/rootfs/of-b/deep"), "changed in place", 0o600)
	killed := simulated(root, func(name string, at agenttest.Moment) error {
		if at == agenttest.Removing && strings.HasPrefix(name, "/data/rootfs.next/of-b") {
			return errors.New("killed")
		}
		return nil
	})
	if _, err := put(t.Context(), killed, "/data/rootfs", a, c); err == nil {
		t.Fatal("nothing was removed: this test sees nothing")
	}
	if sent, err := put(t.Context(), simulated(root, nil), "/data/rootfs", a, b); err != nil || sent != 2 {
		t.Errorf("%d layers were sent, want 2: %v", sent, err)
	}
	if diff := cmp.Diff([]string{"of-b/", "of-b/deep=b", "x=b"}, layers.Tree(t, filepath.Join(root, "data/rootfs"))); diff != "" {
		t.Error(diff)
	}
}

func TestAnExchangeInStepsThatIsKilledIsFinishedOrUndone(t *testing.T) {
	a, b, _ := someLayers(t)
	for moment := 1; moment <= 6; moment++ {
		root := filestest.Root(t)
		on := simulated(root, nil)
		if _, err := put(t.Context(), on, "/data/rootfs", a); err != nil {
			t.Fatal(err)
		}
		filestest.Write(t, filepath.Join(root, "data/rootfs/registry/mine"), "kept", 0o600)
		n := 0
		stopped := &agenttest.Machine{Root: root, Change: func(string, agenttest.Moment) error {
			if n++; n == moment {
				return errors.New("killed")
			}
			return nil
		}}
		q := agent.Layers{Dir: "/data/rootfs", Digests: []digest.Digest{digest.FromBytes(b)}, Exclude: []string{"registry"}}
		if _, err := on.PrepareLayers(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if err := on.Unpack(t.Context(), agent.UnpackRequest{Dir: q.Dir, Beside: true, Digest: q.Digests[0], Format: "tar", Exclude: q.Exclude}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		end, err := layers.ExchangeInSteps(stopped.Files(), q.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if end == nil {
			t.Fatal("it was not stopped")
		}
		if sent, err := put(t.Context(), on, q.Dir, b); err != nil || sent != 0 {
			t.Errorf("stopped at change %d: %d layers were sent again, %v", moment, sent, err)
		}
		want := []string{"rootfs/", "rootfs/of-b/", "rootfs/of-b/deep=b", "rootfs/registry/", "rootfs/registry/mine=kept", "rootfs/x=b"}
		got := slices.DeleteFunc(layers.Tree(t, filepath.Join(root, "data")), func(s string) bool { return strings.Contains(s, layers.Own) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("stopped at change %d: %s", moment, diff)
		}
	}
}

// marksOfEach writes what earlier versions of this program kept about layers, in place of a list.
func marksOfEach(t *testing.T, dir string, list ...[]byte) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, layers.Own, layers.ListName)); err != nil {
		t.Fatal(err)
	}
	var before digest.Digest
	for _, l := range list {
		text := "registry\n"
		if before != "" {
			text += "after " + before.String() + "\n"
		}
		d := digest.FromBytes(l)
		filestest.Write(t, filepath.Join(dir, layers.Own, d.String()), text, 0o644)
		before = digest.FromString(before.String() + " " + d.String())
	}
}

func TestMarksOfAnEarlierVersionAreTakenOverWhereTheySayTheSame(t *testing.T) {
	a, b, c := someLayers(t)
	for name, x := range map[string]struct {
		change func(dir string)
		layers [][]byte
		sent   int
	}{
		"the same":     {func(string) {}, [][]byte{a, b}, 0},
		"less":         {func(string) {}, [][]byte{a}, 1},
		"more":         {func(string) {}, [][]byte{a, b, c}, 3},
		"other":        {func(string) {}, [][]byte{a, c}, 2},
		"one too many": {func(dir string) { marksOfEachMore(t, dir, c) }, [][]byte{a, b}, 2},
		"one begun": {func(dir string) {
			filestest.Write(t, filepath.Join(dir, layers.Own, layers.HalfStage, "1"), "half", 0o600)
		}, [][]byte{a, b}, 2},
	} {
		root := filestest.Root(t)
		on, dir := simulated(root, nil), filepath.Join(root, "data/rootfs")
		if _, err := put(t.Context(), on, "/data/rootfs", a, b); err != nil {
			t.Fatal(err)
		}
		marksOfEach(t, dir, a, b)
		x.change(dir)
		if sent, err := put(t.Context(), on, "/data/rootfs", x.layers...); err != nil || sent != x.sent {
			t.Errorf("%s: %d layers were sent, want %d: %v", name, sent, x.sent, err)
		}
		fresh := filestest.Root(t)
		if _, err := put(t.Context(), simulated(fresh, nil), "/data/rootfs", x.layers...); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(layers.Tree(t, filepath.Join(fresh, "data/rootfs")), layers.Tree(t, dir)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if marks, _ := filepath.Glob(filepath.Join(dir, layers.Own, "sha256:*")); len(marks) > 0 {
			t.Errorf("%s: marks stay: %v", name, marks)
		}
	}
}

// marksOfEachMore is a mark of a layer that was applied once and is no part of the list.
func marksOfEachMore(t *testing.T, dir string, layer []byte) {
	t.Helper()
	filestest.Write(t, filepath.Join(dir, layers.Own, digest.FromBytes(layer).String()), "registry\n", 0o644)
}

func TestAMountInADirectoryIsNeitherReplacedNorRemoved(t *testing.T) {
	a, b, _ := someLayers(t)
	root := filestest.Root(t)
	on := simulated(root, nil)
	if _, err := put(t.Context(), on, "/data/rootfs", a); err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\nb /data/rootfs/theirs tmpfs rw 0 0\n", 0o600)
	before := layers.Tree(t, filepath.Join(root, "data"))
	_, err := put(t.Context(), on, "/data/rootfs", b)
	var refused *agent.Error
	if !errors.As(err, &refused) || refused.Code != agent.CodeRefused || refused.Remedy == "" || !strings.Contains(refused.Message, "/data/rootfs/theirs") {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(before, layers.Tree(t, filepath.Join(root, "data"))); diff != "" {
		t.Error(diff)
	}
}

func TestADirectoryThatIsALinkStaysOne(t *testing.T) {
	a, b, _ := someLayers(t)
	root := filestest.Root(t)
	for _, name := range []string{"data", "disk/rootfs"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../disk/rootfs", filepath.Join(root, "data/rootfs")); err != nil {
		t.Fatal(err)
	}
	for _, layer := range [][]byte{a, b} {
		if _, err := put(t.Context(), simulated(root, nil), "/data/rootfs", layer); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"data/", "data/rootfs -> ../disk/rootfs", "disk/", "disk/rootfs/", "disk/rootfs/of-b/", "disk/rootfs/of-b/deep=b", "disk/rootfs/x=b"}
	got := slices.DeleteFunc(layers.Tree(t, root), func(s string) bool { return strings.HasPrefix(s, "proc") || strings.Contains(s, layers.Own) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestADirectoryOnARealMountIsReplacedInPlace does on this machine what cannot be told from a simulation.
func TestADirectoryOnARealMountIsReplacedInPlace(t *testing.T) {
	a, b, _ := someLayers(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for _, layer := range [][]byte{a, b} {
		if _, err := put(t.Context(), agenttest.Local(t), dir, layer); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"of-b/", "of-b/deep=b", "x=b"}, layers.Tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}
