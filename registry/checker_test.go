package registry

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// served is a store that is served, and what it was filled with.
type served struct {
	*httptest.Server
	root    string
	store   *disk.Store
	src     registrytest.Source
	catalog catalog.Catalog
}

func serveStore(t *testing.T, src registrytest.Source, c catalog.Catalog) served {
	t.Helper()
	root := t.TempDir()
	store := disk.Open(root)
	registrytest.Fill(t, c, src, store)
	h, err := NewHandler(t.Context(), HandlerOptions{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return served{s, root, store, src, c}
}

// spoil changes one bit in the middle of a blob's file, and neither its size nor its time.
func (s served) spoil(t *testing.T, d digest.Digest) {
	t.Helper()
	path := s.store.Path(disk.BlobData(d))
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := fi.Size() / 2
	if _, err := f.WriteAt([]byte{s.src[d][at] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// A client that is told so asks the next registry; one that got other bytes than it asked for gives up.
func TestDamageInAStoreIsNotServedAndComesBackWithTheNextSync(t *testing.T) {
	src, c := registrytest.Samples(t)
	r := registrytest.RepositoryOf(t, c, "docker.io/library/nginx")
	layer, manifest := r.Layers[1].Digest, r.Manifests[0].Digest
	for name, o := range map[string]struct {
		damaged digest.Digest
		path    string
		header  []string
	}{
		"a layer":                   {layer, "blobs/" + layer.String(), nil},
		"a part of a layer":         {layer, "blobs/" + layer.String(), []string{"Range", "bytes=0-9"}},
		"a manifest by its digest":  {manifest, "manifests/" + manifest.String(), nil},
		"a manifest by a tag of it": {manifest, "manifests/1.29", nil},
	} {
		for _, before := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", never read before", true: ", read before"}[before], func(t *testing.T) {
				s := serveStore(t, src, c)
				url := s.URL + "/v2/" + r.Name + "/" + o.path
				whole := registrytest.Tree(t, s.root)
				if before {
					if resp, _ := registrytest.Get(t, url, o.header...); resp.StatusCode/100 != 2 {
						t.Fatal(resp.Status)
					}
				}
				s.spoil(t, o.damaged)
				for range 2 {
					if resp, body := registrytest.Get(t, url, o.header...); resp.StatusCode != 404 || !strings.Contains(body, "UNKNOWN") {
						t.Errorf("%s %.200s", resp.Status, body)
					}
				}
				if sent := mustFill(t, c, src, s.store).BlobsSent; sent != 1 {
					t.Errorf("the next sync sent %d blobs, want the damaged one", sent)
				}
				if diff := cmp.Diff(whole, registrytest.Tree(t, s.root)); diff != "" {
					t.Errorf("the store (-before +after):\n%.2000s", diff)
				}
				if resp, _ := registrytest.Get(t, url, o.header...); resp.StatusCode/100 != 2 {
					t.Errorf("once it is back: %s", resp.Status)
				}
			})
		}
	}
}

// What is too large to be read before it is sent breaks off before its end, and is not there from then on.
func TestDamageInALargeBlobOfAStore(t *testing.T) {
	src, c := registrytest.Images(t, checkedFirst+1)
	r := c.Repositories[0]
	layer := r.Layers[1].Digest
	s := serveStore(t, src, c)
	s.spoil(t, layer)
	url := s.URL + "/v2/" + r.Name + "/blobs/" + layer.String()
	if resp, body := registrytest.Get(t, url); resp.StatusCode != 200 || !strings.HasSuffix(body, "(read: unexpected EOF)") {
		t.Errorf("the first time: %s, %d bytes", resp.Status, len(body))
	}
	if resp, _ := registrytest.Get(t, url); resp.StatusCode != 404 {
		t.Errorf("the second time: %s", resp.Status)
	}
	if _, err := os.Stat(s.store.Path(disk.BlobData(layer)) + disk.AsideSuffix); err != nil {
		t.Error(err)
	}
	mustFill(t, c, src, s.store)
	if resp, body := registrytest.Get(t, url); resp.StatusCode != 200 || digest.FromString(body) != layer {
		t.Errorf("once it is back: %s, %d bytes", resp.Status, len(body))
	}
}

// A session that is under way may be putting the right file there at this moment.
func TestDamageIsNotSetAsideUnderASession(t *testing.T) {
	src, c := registrytest.Samples(t)
	r := registrytest.RepositoryOf(t, c, "docker.io/library/nginx")
	layer := r.Layers[1].Digest
	s := serveStore(t, src, c)
	s.spoil(t, layer)
	lock, err := s.store.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	url := s.URL + "/v2/" + r.Name + "/blobs/" + layer.String()
	for range 2 {
		if resp, _ := registrytest.Get(t, url); resp.StatusCode != 404 {
			t.Error(resp.Status)
		}
	}
	if _, ok := s.store.Stat(layer); !ok {
		t.Error("the file was taken away")
	}
	lock.Close()
	fi, err := os.Stat(s.store.Path(disk.BlobData(layer)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.store.Path(disk.BlobData(layer)), fi.ModTime(), fi.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if resp, _ := registrytest.Get(t, url); resp.StatusCode != 404 {
		t.Error(resp.Status)
	}
	if _, ok := s.store.Stat(layer); ok {
		t.Error("the file still has its name")
	}
}

func TestAnotherFileUnderTheNameIsNotSetAside(t *testing.T) {
	src, c := registrytest.Samples(t)
	layer := registrytest.RepositoryOf(t, c, "docker.io/library/nginx").Layers[1].Digest
	s := serveStore(t, src, c)
	if err := s.store.SetAside(layer, disk.FileID{Size: 1}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Stat(layer); !ok {
		t.Error("the file was taken away")
	}
}

func TestBlobsAreReadAgainAfterAWhile(t *testing.T) {
	src, c := registrytest.Samples(t)
	layer := registrytest.RepositoryOf(t, c, "docker.io/library/nginx").Layers[1].Digest
	s := serveStore(t, src, c)
	k := newChecker(s.store)
	if err := k.check(t.Context(), layer); err != nil {
		t.Fatal(err)
	}
	v := k.verdicts[layer]
	if right, known := k.verdict(layer, v.file); !right || !known {
		t.Errorf("just read: right %t, known %t", right, known)
	}
	v.at = v.at.Add(-checkedFor)
	k.verdicts[layer] = v
	if _, known := k.verdict(layer, v.file); known {
		t.Error("known after an hour")
	}
}

func TestCollectRemovesWhatWasSetAside(t *testing.T) {
	src, c := registrytest.Samples(t)
	r := registrytest.RepositoryOf(t, c, "docker.io/library/nginx")
	s := serveStore(t, src, c)
	for _, b := range r.Layers {
		if len(src[b.Digest]) == 0 {
			continue
		}
		s.spoil(t, b.Digest)
		if resp, _ := registrytest.Do(t, http.MethodGet, s.URL+"/v2/"+r.Name+"/blobs/"+b.Digest.String()); resp.StatusCode != 404 {
			t.Fatal(resp.Status)
		}
	}
	if _, err := s.store.Collect(t.Context(), c, disk.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	err := fs.WalkDir(os.DirFS(s.root), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, disk.AsideSuffix) {
			t.Errorf("left: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
