package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// serveSamples serves the samples in place, or from a store's tree.
func serveSamples(t *testing.T, o HandlerOptions) (*httptest.Server, registrytest.Source, catalog.Catalog) {
	t.Helper()
	src, c := registrytest.Samples(t)
	if o.Root == "" {
		o.Catalog, o.Source = &c, src
	} else {
		registrytest.Fill(t, c, src, disk.Open(o.Root))
	}
	h, err := NewHandler(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, src, c
}

func eachWay(t *testing.T, f func(t *testing.T, s *httptest.Server, src registrytest.Source, c catalog.Catalog)) {
	for name, root := range map[string]string{"in place": "", "from a store": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s, src, c := serveSamples(t, HandlerOptions{Root: root})
			f(t, s, src, c)
		})
	}
}

func TestEveryManifestAndBlobIsServed(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, src registrytest.Source, c catalog.Catalog) {
		for _, r := range c.Repositories {
			for _, b := range r.Layers {
				resp, body := registrytest.Get(t, s.URL+"/v2/"+r.Name+"/blobs/"+b.Digest.String())
				if resp.StatusCode != 200 || body != string(src[b.Digest]) {
					t.Errorf("%s blob %s: %s, %d bytes", r.Name, b.Digest, resp.Status, len(body))
				}
			}
			for _, b := range r.Manifests {
				resp, body := registrytest.Get(t, s.URL+"/v2/"+r.Name+"/manifests/"+b.Digest.String())
				if resp.StatusCode != 200 || body != string(src[b.Digest]) {
					t.Errorf("%s manifest %s: %s, %d bytes", r.Name, b.Digest, resp.Status, len(body))
				}
			}
			for tag, d := range r.Tags {
				resp, _ := registrytest.Do(t, http.MethodHead, s.URL+"/v2/"+r.Name+"/manifests/"+tag)
				if resp.StatusCode != 200 || resp.Header.Get("Docker-Content-Digest") != d.String() {
					t.Errorf("%s:%s: %s %s", r.Name, tag, resp.Status, resp.Header.Get("Docker-Content-Digest"))
				}
			}
		}
	})
}

func TestWritesAreRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			for _, path := range []string{"/v2/pause/manifests/3.10", "/v2/pause/blobs/uploads/", "/v2/x/blobs/" + c.Repositories[0].Layers[0].Digest.String()} {
				if resp, body := registrytest.Do(t, method, s.URL+path); resp.StatusCode != 405 || !strings.Contains(body, "UNSUPPORTED") {
					t.Errorf("%s %s: %s %s", method, path, resp.Status, body)
				}
			}
		}
	})
}

func TestRangesAreServed(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, src registrytest.Source, c catalog.Catalog) {
		for _, b := range c.Blobs() {
			if b.Size < 500_000 {
				continue
			}
			resp, body := registrytest.Get(t, s.URL+"/v2/nginx/blobs/"+b.Digest.String(), "Range", "bytes=100000-")
			if resp.StatusCode != 206 || body != string(src[b.Digest][100000:]) {
				t.Errorf("open range: %s, %d bytes", resp.Status, len(body))
			}
			resp, body = registrytest.Get(t, s.URL+"/v2/nginx/blobs/"+b.Digest.String(), "Range", "bytes=5-9")
			if resp.StatusCode != 206 || body != string(src[b.Digest][5:10]) {
				t.Errorf("closed range: %s, %d bytes", resp.Status, len(body))
			}
		}
	})
}

func TestDamagedBlobNeverArrivesWhole(t *testing.T) {
	src, c := registrytest.Samples(t)
	var big catalog.Blob
	for _, b := range c.Blobs() {
		if b.Size > big.Size {
			big = b
		}
	}
	data := append([]byte{}, src[big.Digest]...)
	data[10] ^= 1
	bad := registrytest.Source{}
	for d, b := range src {
		bad[d] = b
	}
	bad[big.Digest] = data
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: bad})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	for range 2 {
		resp, body := registrytest.Get(t, s.URL+"/v2/nginx/blobs/"+big.Digest.String())
		if resp.StatusCode == 200 && !strings.Contains(body, "unexpected EOF") {
			t.Errorf("whole: %s, %d bytes of %d", resp.Status, len(body), big.Size)
		}
		resp, body = registrytest.Get(t, s.URL+"/v2/nginx/blobs/"+big.Digest.String(), "Range", "bytes=0-9")
		if resp.StatusCode == 206 && len(body) == 10 {
			t.Errorf("range: %s %q", resp.Status, body)
		}
	}
}

func TestManyReadersOfOneBlob(t *testing.T) {
	s, src, c := serveSamples(t, HandlerOptions{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b := c.Repositories[0].Layers[i%len(c.Repositories[0].Layers)]
			resp, body := registrytest.Get(t, s.URL+"/v2/"+c.Repositories[0].Name+"/blobs/"+b.Digest.String())
			if resp.StatusCode != 200 || body != string(src[b.Digest]) {
				t.Errorf("%s, %d bytes", resp.Status, len(body))
			}
		})
	}
	wg.Wait()
}

func TestRepositoriesThatAppearAreFound(t *testing.T) {
	root := t.TempDir()
	h, err := NewHandler(t.Context(), HandlerOptions{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	if resp, _ := registrytest.Get(t, s.URL+"/v2/pause/manifests/3.10"); resp.StatusCode != 404 {
		t.Errorf("before: %s", resp.Status)
	}
	src, c := registrytest.Samples(t)
	mustFill(t, c, src, disk.Open(root))
	if resp, _ := registrytest.Get(t, s.URL+"/v2/pause/manifests/3.10"); resp.StatusCode != 200 {
		t.Errorf("after: %s", resp.Status)
	}
}

func TestAccountsAreAskedFor(t *testing.T) {
	file := t.TempDir() + "/htpasswd"
	line, err := Accounts(Account{User: "admin", Password: "secret one"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, line, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, _ := serveSamples(t, HandlerOptions{Htpasswd: file})
	resp, _ := registrytest.Get(t, s.URL+"/v2/")
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != `Basic realm="sealbuild"` {
		t.Errorf("without: %s %s", resp.Status, resp.Header)
	}
	ask := func(user, password string) int {
		req, _ := http.NewRequest(http.MethodGet, s.URL+"/v2/pause/manifests/3.10", nil)
		req.SetBasicAuth(user, password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for range 2 {
		got := []int{ask("admin", "secret one"), ask("admin", "wrong"), ask("other", "secret one"), ask("admin", "")}
		if diff := cmp.Diff([]int{200, 401, 401, 401}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	}
	line, err = Accounts(Account{User: "admin", Password: rand.Text()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("# changed\n"), line...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ask("admin", "secret one"); got != 401 {
		t.Errorf("after the password was changed: %d", got)
	}
	if _, err := NewHandler(context.Background(), HandlerOptions{Root: t.TempDir(), Htpasswd: file + "-missing"}); err == nil {
		t.Error("a missing accounts file is no error")
	}
}

// readsOf is a source that tells which blobs were read of it.
type readsOf struct {
	registrytest.Source
	read *[]digest.Digest
}

func (r readsOf) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	*r.read = append(*r.read, d)
	return r.Source.OpenBlob(d)
}

func (r readsOf) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	*r.read = append(*r.read, d)
	return r.Source.BlobAt(d)
}

// Startup reads nothing: what comes before the first manifest is that manifest.
func TestFirstManifestComesAtOnce(t *testing.T) {
	src, c := registrytest.Many(t, 10_000)
	d := c.Repositories[7].Manifests[0].Digest
	var read []digest.Digest
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: readsOf{src, &read}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v2/"+c.Repositories[7].Name+"/manifests/"+d.String(), nil)
	r.Header.Set("Accept", v1.MediaTypeImageManifest)
	h.ServeHTTP(w, r)
	if diff := cmp.Diff([]digest.Digest{d}, slices.Compact(read)); diff != "" {
		t.Errorf("blobs read for the first manifest (-want +got):\n%s", diff)
	}
	if w.Code != 200 || digest.NewDigestFromBytes(digest.SHA256, sum(w.Body.Bytes())) != d {
		t.Errorf("%d %.100s", w.Code, w.Body)
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// mustFill makes a store hold a catalog.
func mustFill(t testing.TB, c catalog.Catalog, src catalog.Source, store *disk.Store) storesync.Receipt {
	t.Helper()
	receipt, err := storesync.Fill(t.Context(), store, c, src, storesync.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}
