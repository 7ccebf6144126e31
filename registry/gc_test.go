package registry

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// refsOf are the images of samples without those of the given repositories.
func keepOnly(c Catalog, names ...string) (keep Catalog) {
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
	src, c := samples(t)
	keep := keepOnly(c, "docker.io/library/nginx", "registry.k8s.io/pause")
	store, want := OpenStore(t.TempDir()), OpenStore(t.TempDir())
	fill(t, c, src, store)
	fill(t, keep, src, want)

	before := tree(t, store.Root())
	planned, err := store.Collect(t.Context(), keep, CollectOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, tree(t, store.Root())); diff != "" {
		t.Fatalf("a dry run changed the store:\n%s", diff)
	}
	done, err := store.Collect(t.Context(), keep, CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done != planned || done.Repositories != 3 || done.Tags != 2 || done.Blobs == 0 || done.Bytes == 0 {
		t.Errorf("planned %+v, done %+v", planned, done)
	}
	if diff := cmp.Diff(tree(t, want.Root()), tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs from one that never had more:\n%.2000s", diff)
	}
	if again, err := store.Collect(t.Context(), keep, CollectOptions{}); err != nil || again != (Collected{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestCollectRemovesWhatATagNamedBefore(t *testing.T) {
	m := mapSource{}
	catalog := func(content string) Catalog {
		c, err := BuildCatalog(t.Context(), []Ref{{"quay.io/app:1", m.image("app", []byte(content)).Digest}}, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	store, want := OpenStore(t.TempDir()), OpenStore(t.TempDir())
	fill(t, catalog("old"), m, store)
	fill(t, catalog("new"), m, store)
	fill(t, catalog("new"), m, want)
	if _, err := store.Collect(t.Context(), catalog("new"), CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, want.Root()), tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}

func TestReachTellsWhatIsThere(t *testing.T) {
	src, c := samples(t)
	store := OpenStore(t.TempDir())
	fill(t, c, src, store)
	missing := repositoryOf(t, c, "quay.io/app/nginx").Layers[0]
	if err := os.Remove(store.path(blobData(missing.Digest))); err != nil {
		t.Fatal(err)
	}
	lost := Ref{Name: "quay.io/lost:1", Digest: digest.FromString("lost")}
	got, absent, err := store.Reach(t.Context(), []Ref{{Name: "nginx:1.29"}, {Name: "quay.io/app/nginx:1"}, lost, {Name: "quay.io/none:2"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Ref{lost, {Name: "quay.io/none:2"}}, absent); diff != "" {
		t.Errorf("absent (-want +got):\n%s", diff)
	}
	want := sortedBlobs(keepOnly(c, "docker.io/library/nginx", "quay.io/app/nginx"))
	reached := sortedBlobs(got)
	for name := range want {
		if diff := cmp.Diff(want[name][2], reached[name][2]); diff != "" {
			t.Errorf("manifests of %s (-want +got):\n%s", name, diff)
		}
	}

	d := repositoryOf(t, c, "docker.io/library/nginx").Tags["1.29"]
	if err := os.WriteFile(store.path(blobData(d)), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Reach(t.Context(), []Ref{{Name: "nginx:1.29"}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a damaged manifest: %v", err)
	}
}

func TestHealRepairsFromWhoHasIt(t *testing.T) {
	src, c := samples(t)
	store, other := OpenStore(t.TempDir()), OpenStore(t.TempDir())
	fill(t, c, src, store)
	fill(t, c, src, other)
	want := tree(t, store.Root())
	r := repositoryOf(t, c, "quay.io/app/nginx")
	big, manifest := r.Layers[1], r.Tags["1"]
	// A damaged manifest, and a layer that only it names; a layer cut short; one that the other place has damaged too.
	for d, data := range map[digest.Digest][]byte{manifest: []byte("{}"), big.Digest: src[big.Digest][:1000]} {
		if err := os.WriteFile(store.path(blobData(d)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gone := repositoryOf(t, c, "registry.k8s.io/pause").Layers[1].Digest
	empty := digest.FromString("")
	for _, d := range []digest.Digest{gone, empty} {
		if err := os.Remove(store.path(blobData(d))); err != nil {
			t.Fatal(err)
		}
	}
	bad := repositoryOf(t, c, "localhost_5000/x/y").Layers[1].Digest
	for _, s := range []*Store{store, other} {
		if err := os.WriteFile(s.path(blobData(bad)), make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	looked, err := store.Heal(t.Context(), nil, nil)
	if err != nil || len(looked) != 4 { // the layer that only the damaged manifest names is not known of
		t.Fatalf("looking: %+v, %v", looked, err)
	}
	healed, err := store.Heal(t.Context(), []Source{other}, nil)
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
	if healed, err = store.Heal(t.Context(), []Source{other, src}, nil); err != nil || len(healed) != 1 || !healed[0].Repaired {
		t.Errorf("with a second source: %+v, %v", healed, err)
	}
	if diff := cmp.Diff(want, tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}
