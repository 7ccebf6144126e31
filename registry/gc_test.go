package registry

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

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
	mustSync(t, c, src, store, PushOptions{})
	mustSync(t, keep, src, want, PushOptions{})

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
	mustSync(t, catalog("old"), m, store, PushOptions{})
	mustSync(t, catalog("new"), m, store, PushOptions{})
	mustSync(t, catalog("new"), m, want, PushOptions{})
	if _, err := store.Collect(t.Context(), catalog("new"), CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, want.Root()), tree(t, store.Root())); diff != "" {
		t.Errorf("the store differs:\n%.2000s", diff)
	}
}

// A client that has the tag's digest gets the manifest, one that has the manifest gets the layers, and an answer that has begun
// ends.
func TestCollectDoesNotBreakAPullThatHasBegun(t *testing.T) {
	src, c := samples(t)
	root := t.TempDir()
	store := OpenStore(root)
	fill(t, c, src, store)
	r := repositoryOf(t, c, "registry.k8s.io/pause")
	tag := r.Tags["3.10"]
	layer := r.Layers[0].Digest
	h, err := NewHandler(t.Context(), HandlerOptions{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		status := func(path string) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/registry.k8s.io/pause/"+path, nil))
			return w.Code
		}
		answer := func(ref string) [3]int {
			return [3]int{status("manifests/" + ref), status("manifests/" + tag.String()), status("blobs/" + layer.String())}
		}
		open, err := newChecker(store).content(httptest.NewRequest("GET", "/", nil), r.Name, layer)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		done := make(chan error, 1)
		go func() {
			_, err := store.Collect(t.Context(), Catalog{}, CollectOptions{Grace: time.Minute})
			done <- err
		}()
		synctest.Wait()
		if got := answer("3.10"); got != [3]int{404, 200, 200} {
			t.Errorf("tag, manifest and layer in the first minute: %v", got)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := answer("3.10"); got != [3]int{404, 404, 200} {
			t.Errorf("tag, manifest and layer in the second minute: %v", got)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := answer("3.10"); got != [3]int{404, 404, 404} {
			t.Errorf("tag, manifest and layer after it: %v", got)
		}
		if data, err := io.ReadAll(open); err != nil || digest.FromBytes(data) != layer {
			t.Errorf("a layer that was being sent: %d bytes, %v", len(data), err)
		}
	})
	if files := tree(t, root); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

func TestCollectAndSessionsKeepApart(t *testing.T) {
	src, c := samples(t)
	store := OpenStore(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})

	sr, sw := io.Pipe()
	received := make(chan error, 1)
	go func() {
		_, err := store.Receive(t.Context(), sr, io.Discard)
		received <- err
	}()
	w := newFrameWriter(sw)
	if err := w.write(frameHello, hello{}.encode()); err != nil {
		t.Fatal(err)
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.write(frameEnd, nil); err != nil {
		t.Fatal(err)
	}
	for { // until the session holds its lock
		_, err := store.Collect(t.Context(), c, CollectOptions{})
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}

	lock, err := lockStore(t.Context(), store.Root(), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lockStore(ctx, store.Root(), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session beside a collection: %v", err)
	}
	lock.Close()
	mustSync(t, c, src, store, PushOptions{})
}

func TestReachTellsWhatIsThere(t *testing.T) {
	src, c := samples(t)
	store := OpenStore(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})
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
	mustSync(t, c, src, store, PushOptions{})
	mustSync(t, c, src, other, PushOptions{})
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
