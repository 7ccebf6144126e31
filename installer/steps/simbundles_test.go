package steps

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// appVersion is a bundle whose application needs an image of its own.
func appVersion(t *testing.T, v int) []byte {
	images := simImages()
	images[1].Files = map[string]string{"manifests/app.yaml": fmt.Sprintf("kind: List # %d\n", v)}
	images[3].Name, images[3].Files = fmt.Sprintf("quay.io/app:%d", v), map[string]string{"app": fmt.Sprint(v)}
	return bundleOf(t, images)
}

// TestRegistriesKnowWhichBundlesAClusterRanWith installs three versions of an application, of which one fails.
func TestRegistriesKnowWhichBundlesAClusterRanWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), nil, 2, 1)
		for v := range 5 {
			w.bundle = appVersion(t, v)
			pipeline := Install()
			if v == 2 {
				pipeline = pipeline[:5] // it is given up once the images are there
			}
			mustRun(t, w, pipeline)
		}
		if changes := mustRun(t, w, Install()); changes != 0 {
			t.Errorf("a further run: %d changes", changes)
		}
		for i, m := range w.Machines() {
			store := disk.Open(filepath.Join(m.Root(), disk.DefaultRoot))
			all, err := store.Bundles()
			if err != nil {
				t.Fatal(err)
			}
			if i == 2 { // a worker has no registry
				if len(all) > 0 {
					t.Errorf("a worker has %v", all)
				}
				continue
			}
			var used []bool
			for _, b := range all {
				used = append(used, b.InUse)
			}
			if diff := cmp.Diff([]bool{true, true, false, true, true}, used); diff != "" {
				t.Errorf("in use, the newest first (-want +got):\n%s", diff)
			}
			if _, _, err := store.CollectOlder(t.Context(), 2, catalog.Catalog{}, disk.CollectOptions{}); err != nil {
				t.Fatal(err)
			}
			c, err := store.Catalog(context.WithoutCancel(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.Repositories {
				if r.Name != "quay.io/app" {
					continue
				}
				if diff := cmp.Diff([]string{"3", "4"}, slices.Sorted(maps.Keys(r.Tags))); diff != "" {
					t.Errorf("tags left (-want +got):\n%s", diff)
				}
			}
		}
	})
}

// TestADifferentialBundleEndsAsTheFullOne brings other images to hosts, once from a bundle that leaves out what the site has.
func TestADifferentialBundleEndsAsTheFullOne(t *testing.T) {
	begin, _ := treeAfter(t, Install()[:6], simBundle(t))
	var ends [][]map[string]string
	var sizes []int
	for _, onSite := range []bool{false, true} {
		images := overlaidDifferently()
		for i := range images {
			images[i].OnSite = onSite && images[i].Type == "" // container images, all as before
		}
		images = append(images, stepstest.Image{Name: "quay.io/new:1", Files: map[string]string{"new": "new\n"}})
		w := begin.clone(t, memoryDir(t))
		w.bundle = bundleOf(t, images)
		sizes = append(sizes, len(w.bundle))
		mustRun(t, w, slices.Concat(withSteps(Install()[4], stageStep, switchStep), Install()[3:6]))
		if changes := mustRun(t, w, Install()[:6]); changes != 0 {
			t.Errorf("on site %v, a further run: %d changes", onSite, changes)
		}
		ends = append(ends, w.trees(t))
	}
	if sizes[1] >= sizes[0] {
		t.Errorf("the bundles have %v bytes: this test sees nothing", sizes)
	}
	for i := range ends[0] {
		for _, tree := range ends {
			// What is recorded of a bundle bears its digest.
			maps.DeleteFunc(tree[i], func(name, _ string) bool { return filepath.Base(filepath.Dir(name)) == "bundles" })
		}
		if diff := differences(ends[0][i], ends[1][i]); len(diff) > 0 {
			t.Errorf("host %d:\n%s", i+1, strings.Join(diff, "\n"))
		}
	}
}
