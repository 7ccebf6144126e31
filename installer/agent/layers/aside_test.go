package layers_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
)

func TestForgettingRemovesWhatLiesBeside(t *testing.T) {
	a, b, c := someLayers(t)
	root, on := inUse(t, a, b)
	// Through a link of the site the directories lie elsewhere.
	for _, step := range []error{
		os.Mkdir(filepath.Join(root, "disk"), 0o755), os.Rename(filepath.Join(root, "data/rootfs"), filepath.Join(root, "disk/rootfs")),
		os.Symlink("../disk/rootfs", filepath.Join(root, "data/rootfs")),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if err := upgrade(t.Context(), on, a, c); err != nil {
		t.Fatal(err)
	}
	beside := func() string {
		var names []string
		for _, dir := range []string{"data", "disk"} {
			entries, err := os.ReadDir(filepath.Join(root, dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, dir+"/"+e.Name())
			}
		}
		return strings.Join(names, " ")
	}
	for _, step := range []struct {
		keep bool
		want string
	}{{true, "data/rootfs disk/rootfs disk/rootfs.before"}, {false, "data/rootfs disk/rootfs"}} {
		if _, err := aside(t.Context(), on, b, c); err != nil {
			t.Fatal(err)
		}
		if err := on.ForgetLayers(t.Context(), agent.Layers{Dir: rootfs, Exclude: []string{"registry"}, Keep: step.keep}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, beside()); diff != "" {
			t.Errorf("keep %v: %s", step.keep, diff)
		}
	}
	if diff := cmp.Diff(with(newTree, others), layers.Tree(t, filepath.Join(root, "disk/rootfs"))); diff != "" {
		t.Error(diff)
	}
}

// TestFilesOverLayersAsideAreNotTakenForLayers is a plain run that follows an upgrade which was given up.
func TestFilesOverLayersAsideAreNotTakenForLayers(t *testing.T) {
	a, b, c := someLayers(t)
	root, on := inUse(t, a, b)
	if _, err := aside(t.Context(), on, a, c); err != nil {
		t.Fatal(err)
	}
	if sent, err := put(t.Context(), on, rootfs, a, c); err != nil || sent != 2 {
		t.Errorf("%d layers were sent, %v", sent, err)
	}
	want := map[string][]string{"": with([]string{"of-a=a", "of-c=c", "x=c"}, others)}
	if diff := cmp.Diff(want, around(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCouldNotComeBackIsRefusedBeforeAnythingIsUnpacked(t *testing.T) {
	a, b, c := someLayers(t)
	for name, spoil := range map[string]func(root string){
		"a mount point": func(root string) {
			filestest.Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\nb /data/rootfs tmpfs rw 0 0\n", 0o600)
		},
		"a mount below": func(root string) {
			filestest.Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\nb /data/rootfs/theirs tmpfs rw 0 0\n", 0o600)
		},
		"a mount below what is kept": func(root string) {
			filestest.Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\nb /data/rootfs.before/theirs tmpfs rw 0 0\n", 0o600)
		},
		"not known": func(root string) {
			if err := os.Remove(filepath.Join(root, "data/rootfs", layers.Own, layers.ListName)); err != nil {
				t.Fatal(err)
			}
		},
		"not whole": func(root string) {
			list := "exclude registry\nlayer " + digest.FromBytes(a).String() + "\nunpacking " + digest.FromBytes(b).String() + "\n"
			filestest.Write(t, filepath.Join(root, "data/rootfs", layers.Own, layers.ListName), list, 0o600)
		},
		"not there": func(root string) {
			if err := os.RemoveAll(filepath.Join(root, "data/rootfs")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		root, on := inUse(t, a, b)
		spoil(root)
		sent, err := aside(t.Context(), on, a, c)
		var refused *agent.Error
		if !errors.As(err, &refused) || refused.Code != agent.CodeRefused || refused.Remedy == "" || sent > 0 {
			t.Errorf("%s: %d layers were sent, and the error is %v", name, sent, err)
		}
	}
}
