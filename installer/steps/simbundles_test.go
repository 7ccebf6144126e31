package steps

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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
}
