package layers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

const rootfs = "/data/rootfs"

// keeping is the request for layers that are unpacked aside, and whose predecessors are kept.
func keeping(list ...[]byte) agent.Layers {
	q := agent.Layers{Dir: rootfs, Exclude: []string{"registry"}, Aside: true, Keep: true}
	for _, l := range list {
		q.Digests = append(q.Digests, digest.FromBytes(l))
	}
	return q
}

// aside unpacks layers beside those in use, lays a file over them, and tells how many were sent.
func aside(ctx context.Context, a *agent.Agent, list ...[]byte) (sent int, err error) {
	q := keeping(list...)
	place, err := a.PrepareLayers(ctx, q)
	if err != nil || !place.Beside {
		return 0, err
	}
	for n := place.Have; n < len(list); n++ {
		sent++
		err := a.Unpack(ctx, agent.UnpackRequest{
			Dir: rootfs, Beside: true, Digest: q.Digests[n], Format: "tar", Upon: q.Digests[:n], Exclude: q.Exclude,
		}, bytes.NewReader(list[n]))
		if err != nil {
			return sent, err
		}
	}
	_, err = a.WriteFiles(ctx, []agent.File{
		{Path: place.At + "/over", Content: []byte("the layers")}, {Path: place.At + "/" + agent.LayersNote, Content: []byte("note")},
	})
	return sent, err
}

// upgrade brings layers into use and keeps those before.
func upgrade(ctx context.Context, a *agent.Agent, list ...[]byte) error {
	if _, err := aside(ctx, a, list...); err != nil {
		return err
	}
	return a.SwitchLayers(ctx, keeping(list...))
}

// around are the trees of the directory in use and of those beside it, by the end of their names.
func around(t *testing.T, root string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	entries, err := os.ReadDir(filepath.Join(root, "data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out[strings.TrimPrefix(e.Name(), "rootfs")] = layers.Tree(t, filepath.Join(root, "data", e.Name()))
	}
	return out
}

// inUse makes a host where layers are in use, with a file of theirs changed in place and one of others beside them.
func inUse(t *testing.T, list ...[]byte) (root string, on *agent.Agent) {
	t.Helper()
	root = filestest.Root(t)
	on = simulated(root, nil)
	if _, err := put(t.Context(), on, rootfs, list...); err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, filepath.Join(root, "data/rootfs/of-b/deep"), "changed in place", 0o600)
	filestest.Write(t, filepath.Join(root, "data/rootfs/registry/mine"), "kept", 0o600)
	return root, on
}

// What TestADirectoryIsKept and the tests that kill find: a and b in use, of which a file was changed, and a and c.
var (
	oldTree = []string{"of-b/", "of-b/deep=changed in place", "x=b"}
	newTree = []string{"of-a=a", "of-c=c", "over=the layers", "x=c"}
	others  = []string{"registry/", "registry/mine=kept"}
)

func with(tree, more []string) []string {
	return slices.Sorted(slices.Values(slices.Concat(tree, more)))
}

func TestADirectoryIsKeptAndComesBackAsItWasInUse(t *testing.T) {
	a, b, c := someLayers(t)
	root, on := inUse(t, a, b)
	if _, err := aside(t.Context(), on, a, c); err != nil {
		t.Fatal(err)
	}
	look := func(when string, want map[string][]string) {
		t.Helper()
		if diff := cmp.Diff(want, around(t, root)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	staged := map[string][]string{"": with(oldTree, others), ".next": newTree}
	upgraded := map[string][]string{"": with(newTree, others), ".before": oldTree}
	look("unpacked aside", staged)
	for range 2 { // the second call is one whose answer was lost
		if err := on.SwitchLayers(t.Context(), keeping(a, c)); err != nil {
			t.Fatal(err)
		}
		look("switched", upgraded)
	}
	for range 2 {
		if err := on.SwitchLayersBack(t.Context(), keeping(a, c)); err != nil {
			t.Fatal(err)
		}
		look("switched back", staged)
	}
	sent, err := aside(t.Context(), on, a, c)
	if err != nil || sent != 0 {
		t.Errorf("for another try %d layers were sent, %v", sent, err)
	}
	if err := on.SwitchLayers(t.Context(), keeping(a, c)); err != nil {
		t.Fatal(err)
	}
	look("switched again", upgraded)
	// A plain request takes what is in use for what it is, and leaves alone what is kept.
	if sent, err := put(t.Context(), on, rootfs, a, c); err != nil || sent != 0 {
		t.Errorf("a plain request sent %d layers, %v", sent, err)
	}
	look("after a plain request", upgraded)
	if sent, err := put(t.Context(), on, rootfs, b); err != nil || sent != 1 {
		t.Errorf("for other layers %d were sent, %v", sent, err)
	}
	look("after a plain request for other layers", map[string][]string{"": with([]string{"of-b/", "of-b/deep=b", "x=b"}, others), ".before": oldTree})
}

// TestLayersThatGoOnAreUnpackedAside would spoil what is in use, if a layer more were laid upon it.
func TestLayersThatGoOnAreUnpackedAside(t *testing.T) {
	a, b, c := someLayers(t)
	root, on := inUse(t, a, b)
	if sent, err := aside(t.Context(), on, a, b, c); err != nil || sent != 3 {
		t.Errorf("%d layers were sent, %v", sent, err)
	}
	if diff := cmp.Diff(with(oldTree, others), layers.Tree(t, filepath.Join(root, "data/rootfs"))); diff != "" {
		t.Error(diff)
	}
	// Those that lie there already are not unpacked once more.
	if place, err := on.PrepareLayers(t.Context(), keeping(a, b)); err != nil || place.Beside || place.Have != 2 || place.At != rootfs {
		t.Errorf("%+v, %v", place, err)
	}
	if left := around(t, root); len(left) != 1 {
		t.Errorf("beside what is wanted and in use lies: %v", left)
	}
}

func TestOnlyTheNextUpgradeRemovesWhatIsKept(t *testing.T) {
	a, b, c := someLayers(t)
	root, on := inUse(t, a, b)
	if err := upgrade(t.Context(), on, a, c); err != nil {
		t.Fatal(err)
	}
	// Until the exchange has happened, what is kept from the upgrade before is still there.
	if _, err := aside(t.Context(), on, b, c); err != nil {
		t.Fatal(err)
	}
	full := simulated(root, func(name string, at agenttest.Moment) error {
		if name == rootfs {
			return unix.ENOSPC
		}
		return nil
	})
	if err := full.SwitchLayers(t.Context(), keeping(b, c)); err == nil {
		t.Fatal("nothing failed: this test sees nothing")
	}
	if diff := cmp.Diff(oldTree, around(t, root)[".before"]); diff != "" {
		t.Errorf("kept, when the exchange failed: %s", diff)
	}
	if err := upgrade(t.Context(), on, b, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newTree, around(t, root)[".before"]); diff != "" {
		t.Errorf("kept: %s", diff)
	}
}

// stopAt is a machine that is killed at its n-th change. If steps, its file system cannot exchange two directories.
func stopAt(root string, n int, steps bool) *agent.Agent {
	seen, refused := 0, false
	return simulated(root, func(name string, at agenttest.Moment) error {
		if seen++; seen >= n {
			return errors.New("killed")
		}
		if steps && !refused && name == rootfs && at == agenttest.Before {
			refused = true
			return unix.EINVAL
		}
		return nil
	})
}

// TestASwitchThatKeepsIsKilledAnywhere kills the agent at each of its changes on the way to layers, or back from them. The
// directory in use is then what it was or what it is to be, and whole, and one call goes on in either direction.
func TestASwitchThatKeepsIsKilledAnywhere(t *testing.T) {
	a, b, c := someLayers(t)
	q := keeping(a, c)
	older := layers.Archive(t, layers.Entry{Name: "older", Body: "kept by the upgrade before"})
	forward := func(ctx context.Context, on *agent.Agent) error { return upgrade(ctx, on, a, c) }
	back := func(ctx context.Context, on *agent.Agent) error { return on.SwitchLayersBack(ctx, q) }
	upgraded := map[string][]string{"": with(newTree, others), ".before": oldTree}
	asBefore := map[string][]string{"": with(oldTree, others), ".next": newTree}
	for _, steps := range []bool{false, true} {
		for name, way := range map[string]func(context.Context, *agent.Agent) error{"forward": forward, "back": back} {
			for moment := 1; ; moment++ {
				root, on := inUse(t, older)
				if err := upgrade(t.Context(), on, a, b); err != nil {
					t.Fatal(err)
				}
				filestest.Write(t, filepath.Join(root, "data/rootfs/of-b/deep"), "changed in place", 0o600)
				if err := os.Remove(filepath.Join(root, "data/rootfs/over")); err != nil {
					t.Fatal(err)
				}
				if name == "back" {
					if err := forward(t.Context(), on); err != nil {
						t.Fatal(err)
					}
				}
				if way(t.Context(), stopAt(root, moment, steps)) == nil {
					if steps && moment < 7 {
						t.Error("the exchange took no steps: this test sees nothing")
					}
					break
				}
				what := func(then string) string {
					return fmt.Sprintf("%s, in steps %v, killed at change %d, then %s", name, steps, moment, then)
				}
				// What a program that looks meanwhile finds.
				in, there := around(t, root)[""]
				in = slices.DeleteFunc(in, func(s string) bool { return slices.Contains(others, s) })
				if (there || !steps) && !slices.Equal(in, oldTree) && !slices.Equal(in, newTree) {
					t.Errorf("%s: in use is %v", what("nothing"), in)
				}
				for then, want := range map[string]map[string][]string{"on": upgraded, "back": asBefore} {
					copied := filestest.Root(t)
					if err := errors.Join(os.RemoveAll(filepath.Join(copied, "proc")), os.CopyFS(copied, os.DirFS(root))); err != nil {
						t.Fatal(err)
					}
					again := simulated(copied, nil)
					err := forward(t.Context(), again)
					if then == "back" && err == nil {
						err = back(t.Context(), again)
					}
					if err != nil {
						t.Fatalf("%s: %v", what(then), err)
					}
					if diff := cmp.Diff(want, around(t, copied)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", what(then), diff)
					}
				}
				// A call back that follows at once finds either nothing to do or everything in place.
				if err := back(t.Context(), on); err != nil {
					t.Fatalf("%s: %v", what("at once back"), err)
				}
				if diff := cmp.Diff(asBefore[""], around(t, root)[""]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what("at once back"), diff)
				}
			}
		}
	}
}

// TestWhatIsRemovedHalfIsNeverBroughtBack kills the agent while it removes what an upgrade before had kept.
func TestWhatIsRemovedHalfIsNeverBroughtBack(t *testing.T) {
	a, b, c := someLayers(t)
	for _, at := range []string{"/data/rootfs.before/of-b", "/data/rootfs.before/of-b/deep", "/data/rootfs.before"} {
		root, on := inUse(t, a, b)
		if err := upgrade(t.Context(), on, a, c); err != nil {
			t.Fatal(err)
		}
		killed := simulated(root, func(name string, m agenttest.Moment) error {
			if name == at && m == agenttest.Removing {
				return errors.New("killed")
			}
			return nil
		})
		if err := killed.ForgetLayers(t.Context(), agent.Layers{Dir: rootfs}); err == nil {
			t.Fatal("nothing was removed: this test sees nothing")
		}
		var refused *agent.Error
		if err := on.SwitchLayersBack(t.Context(), keeping(a, c)); !errors.As(err, &refused) || refused.Code != agent.CodeRefused {
			t.Errorf("killed before %s goes: %v", at, err)
		}
		if diff := cmp.Diff(with(newTree, others), around(t, root)[""]); diff != "" {
			t.Error(diff)
		}
	}
}
