package disk_test

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// refsOf are the images of samples without those of the given repositories.
func keepOnly(c catalog.Catalog, names ...string) (keep catalog.Catalog) {
	for _, r := range c.Repositories {
		for _, n := range names {
			if r.Name == n {
				keep.Repositories = append(keep.Repositories, r)
			}
		}
	}
	return keep
}

func TestCollectLeavesExactlyWhatIsKept(t *testing.T) {
	src, c := registrytest.Samples(t)
	keep := keepOnly(c, "docker.io/library/nginx", "registry.k8s.io/pause")
	store, want := disk.Open(t.TempDir()), disk.Open(t.TempDir())
	registrytest.Fill(t, c, src, store)
	registrytest.Fill(t, keep, src, want)

	before := registrytest.Tree(t, store.Root())
	planned, err := store.Collect(t.Context(), keep, disk.CollectOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, registrytest.Tree(t, store.Root())); diff != "" {
		t.Fatalf("a dry run changed the store:\n%s", diff)
	}
	done, err := store.Collect(t.Context(), keep, disk.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done != planned || done.Repositories != 3 || done.Tags != 2 || done.Blobs == 0 || done.Bytes == 0 {
		t.Errorf("planned %+v, done %+v", planned, done)
	}
	if diff := cmp.Diff(registrytest.Tree(t, want.Root()), registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs from one that never had more:\n%.2000s", diff)
	}
	if again, err := store.Collect(t.Context(), keep, disk.CollectOptions{}); err != nil || again != (disk.Collected{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestCollectRemovesWhatATagNamedBefore(t *testing.T) {
	m := registrytest.Source{}
	images := func(content string) catalog.Catalog {
		c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/app:1", Digest: m.Image("app", []byte(content)).Digest}}, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	store, want := disk.Open(t.TempDir()), disk.Open(t.TempDir())
	registrytest.Fill(t, images("old"), m, store)
	registrytest.Fill(t, images("new"), m, store)
	registrytest.Fill(t, images("new"), m, want)
	if _, err := store.Collect(t.Context(), images("new"), disk.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registrytest.Tree(t, want.Root()), registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}

func TestReachTellsWhatIsThere(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
	registrytest.Fill(t, c, src, store)
	missing := registrytest.RepositoryOf(t, c, "quay.io/app/nginx").Layers[0]
	if err := os.Remove(store.Path(disk.BlobData(missing.Digest))); err != nil {
		t.Fatal(err)
	}
	lost := catalog.Ref{Name: "quay.io/lost:1", Digest: digest.FromString("lost")}
	got, absent, err := store.Reach(t.Context(), []catalog.Ref{{Name: "nginx:1.29"}, {Name: "quay.io/app/nginx:1"}, lost, {Name: "quay.io/none:2"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]catalog.Ref{lost, {Name: "quay.io/none:2"}}, absent); diff != "" {
		t.Errorf("absent (-want +got):\n%s", diff)
	}
	want := registrytest.SortedBlobs(keepOnly(c, "docker.io/library/nginx", "quay.io/app/nginx"))
	reached := registrytest.SortedBlobs(got)
	for name := range want {
		if diff := cmp.Diff(want[name][2], reached[name][2]); diff != "" {
			t.Errorf("manifests of %s (-want +got):\n%s", name, diff)
		}
	}

	d := registrytest.RepositoryOf(t, c, "docker.io/library/nginx").Tags["1.29"]
	if err := os.WriteFile(store.Path(disk.BlobData(d)), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Reach(t.Context(), []catalog.Ref{{Name: "nginx:1.29"}}); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("a damaged manifest: %v", err)
	}
}

func TestHealRepairsFromWhoHasIt(t *testing.T) {
	src, c := registrytest.Samples(t)
	store, other := disk.Open(t.TempDir()), disk.Open(t.TempDir())
	registrytest.Fill(t, c, src, store)
	registrytest.Fill(t, c, src, other)
	want := registrytest.Tree(t, store.Root())
	r := registrytest.RepositoryOf(t, c, "quay.io/app/nginx")
	big, manifest := r.Layers[1], r.Tags["1"]
	// A damaged manifest, and a layer that only it names; a layer cut short; one that the other place has damaged too.
	for d, data := range map[digest.Digest][]byte{manifest: []byte("{}"), big.Digest: src[big.Digest][:1000]} {
		if err := os.WriteFile(store.Path(disk.BlobData(d)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gone := registrytest.RepositoryOf(t, c, "registry.k8s.io/pause").Layers[1].Digest
	empty := digest.FromString("")
	for _, d := range []digest.Digest{gone, empty} {
		if err := os.Remove(store.Path(disk.BlobData(d))); err != nil {
			t.Fatal(err)
		}
	}
	bad := registrytest.RepositoryOf(t, c, "localhost_5000/x/y").Layers[1].Digest
	for _, s := range []*disk.Store{store, other} {
		if err := os.WriteFile(s.Path(disk.BlobData(bad)), make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	looked, err := store.Heal(t.Context(), nil, nil)
	if err != nil || len(looked) != 4 { // the layer that only the damaged manifest names is not known of
		t.Fatalf("looking: %+v, %v", looked, err)
	}
	healed, err := store.Heal(t.Context(), []catalog.Source{other}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[digest.Digest]bool{}
	for _, d := range healed {
		got[d.Digest] = d.Repaired
		if d.Repaired != (d.Err == nil) {
			t.Errorf("%+v", d)
		}
	}
	if diff := cmp.Diff(map[digest.Digest]bool{manifest: true, big.Digest: true, gone: true, empty: true, bad: false}, got); diff != "" {
		t.Errorf("healed (-want +got):\n%s", diff)
	}
	if healed, err = store.Heal(t.Context(), []catalog.Source{other, src}, nil); err != nil || len(healed) != 1 || !healed[0].Repaired {
		t.Errorf("with a second source: %+v, %v", healed, err)
	}
	if diff := cmp.Diff(want, registrytest.Tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}
