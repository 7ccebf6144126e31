package registry

import (
	"io"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// A client that has the tag's digest gets the manifest, one that has the manifest gets the layers, and an answer that has begun
// ends.
func TestCollectDoesNotBreakAPullThatHasBegun(t *testing.T) {
	src, c := registrytest.Samples(t)
	root := t.TempDir()
	store := disk.Open(root)
	registrytest.Fill(t, c, src, store)
	r := registrytest.RepositoryOf(t, c, "registry.k8s.io/pause")
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
			_, err := store.Collect(t.Context(), catalog.Catalog{}, disk.CollectOptions{Grace: time.Minute})
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
	if files := registrytest.Tree(t, root); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}
