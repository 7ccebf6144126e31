package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// The tests of this file are the push and management parts of the OCI distribution specification.

// writable is a registry that clients may push to.
type writable struct {
	*testing.T
	url, root string
}

// handlerOf makes a handler as ServeConfig does; more is further lines of the configuration.
func handlerOf(t *testing.T, root, more string) (http.Handler, error) {
	t.Helper()
	c, err := configuration.Parse(strings.NewReader("version: 0.1\nhttp: {addr: ':0'}\nstorage: {filesystem: {rootdirectory: " + root + "}, delete: {enabled: true}}\n" + more))
	if err != nil {
		t.Fatal(err)
	}
	o, err := optionsOf(c)
	if err != nil {
		return nil, err
	}
	s, err := settingsOf(c, o.Writable)
	if err != nil {
		return nil, err
	}
	return newStoreHandler(t.Context(), o, s)
}

func serveWritable(t *testing.T, root, more string) writable {
	t.Helper()
	h, err := handlerOf(t, root, more)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return writable{t, s.URL, root}
}

// send makes a request of a path, or of an address that an answer gave.
func (w writable) send(method, path, body string, header ...string) (*http.Response, string) {
	w.Helper()
	if strings.HasPrefix(path, "/") {
		path = w.url + path
	}
	req, err := http.NewRequestWithContext(w.Context(), method, path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if req.Header.Get("Transfer-Encoding") != "" {
		req.ContentLength = -1 // whoever streams does not know how much comes
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp, string(text)
}

// want sends, and ends the test on another status.
func (w writable) want(status int, method, path, body string, header ...string) *http.Response {
	w.Helper()
	resp, text := w.send(method, path, body, header...)
	if resp.StatusCode != status {
		w.Fatalf("%s %s: %s %s, want %d", method, path, resp.Status, text, status)
	}
	return resp
}

func (w writable) begin(repo string) string {
	w.Helper()
	return w.want(202, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "").Header.Get("Location")
}

func (w writable) pushBlobs(repo string, src registrytest.Source) {
	w.Helper()
	for d, data := range src {
		w.want(201, http.MethodPut, w.begin(repo)+"?digest="+d.String(), string(data))
	}
}

// push puts an image, with all that it needs, under a tag or its digest.
func (w writable) push(repo, ref string, src registrytest.Source, desc v1.Descriptor) *http.Response {
	w.Helper()
	w.pushBlobs(repo, src)
	return w.want(201, http.MethodPut, "/v2/"+repo+"/manifests/"+ref, string(src[desc.Digest]), "Content-Type", desc.MediaType)
}

// uploads lists the files of uploads.
func (w writable) uploads() (left []string) {
	w.Helper()
	for name := range registrytest.Tree(w.T, w.root) {
		if strings.Contains(name, "/_uploads/") {
			left = append(left, name)
		}
	}
	return left
}

func TestTagsManifestsAndBlobsAreDeleted(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	src := registrytest.Source{}
	desc := src.Image("x", []byte("layer"))
	d := desc.Digest.String()
	for _, tag := range []string{"one", "two", "three"} {
		w.push("x", tag, src, desc)
	}
	w.want(202, http.MethodDelete, "/v2/x/manifests/one", "")
	w.want(404, http.MethodDelete, "/v2/x/manifests/one", "")
	w.want(404, http.MethodGet, "/v2/x/manifests/one", "")
	w.want(200, http.MethodGet, "/v2/x/manifests/two", "")
	w.want(202, http.MethodDelete, "/v2/x/manifests/"+d, "")
	w.want(404, http.MethodDelete, "/v2/x/manifests/"+d, "")
	w.want(404, http.MethodGet, "/v2/x/manifests/two", "")
	if _, body := w.send(http.MethodGet, "/v2/x/tags/list", ""); body != `{"name":"x","tags":[]}` {
		t.Errorf("tags of what is gone: %s", body)
	}
	layer := digest.FromString("layer").String()
	w.want(202, http.MethodDelete, "/v2/x/blobs/"+layer, "")
	w.want(404, http.MethodDelete, "/v2/x/blobs/"+layer, "")
	w.want(404, http.MethodGet, "/v2/x/blobs/"+layer, "")
}

func TestNothingIsDeletedUnlessTheConfigurationSaysSo(t *testing.T) {
	root := t.TempDir()
	src, c := registrytest.Samples(t)
	registrytest.Fill(t, c, src, disk.Open(root))
	h, err := NewHandler(t.Context(), HandlerOptions{Root: root, Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	w := writable{t, s.URL, root}
	r := c.Repositories[0]
	before := registrytest.Tree(t, root)
	for _, path := range []string{"/manifests/1.29", "/manifests/" + r.Manifests[0].Digest.String(), "/blobs/" + r.Layers[0].Digest.String()} {
		if resp, body := w.send(http.MethodDelete, "/v2/"+r.Name+path, ""); resp.StatusCode != 405 || errorCodes(t, body)[0] != "UNSUPPORTED" {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if diff := cmp.Diff(before, registrytest.Tree(t, root)); diff != "" {
		t.Errorf("the store (-before +after):\n%.2000s", diff)
	}
}

func TestManifestsThatCannotBeKeptAreRefused(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "policy: {repository: {classes: [image]}}\n")
	src := registrytest.Source{}
	good := src.Image("x", []byte("layer"))
	w.push("x", "good", src, good)
	lacking := src.Image("x", []byte("never sent"))
	index := src.Index(lacking)
	artifact := strings.Replace(string(src[good.Digest]), v1.MediaTypeImageConfig, "application/vnd.example+json", 1)
	foreign := strings.Replace(string(src[good.Digest]), `"layers":[{`, `"layers":[{"urls":["https://elsewhere.example/"],`, 1)
	foreign = strings.Replace(foreign, "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar", 1)
	for name, tt := range map[string]struct {
		ref, mediaType, body string
		status               int
		code                 string
	}{
		"a layer is missing":       {"1", v1.MediaTypeImageManifest, string(src[lacking.Digest]), 400, "MANIFEST_BLOB_UNKNOWN"},
		"an image is missing":      {"1", v1.MediaTypeImageIndex, string(src[index.Digest]), 400, "MANIFEST_BLOB_UNKNOWN"},
		"not a manifest":           {"1", v1.MediaTypeImageManifest, "{", 400, "MANIFEST_INVALID"},
		"no manifest's type":       {"1", "text/plain", "{}", 400, "MANIFEST_INVALID"},
		"no type":                  {"1", "", string(src[good.Digest]), 400, "MANIFEST_INVALID"},
		"too large":                {"1", v1.MediaTypeImageManifest, strings.Repeat(" ", ocigraph.MaxManifest+1), 413, "MANIFEST_INVALID"},
		"of another digest":        {index.Digest.String(), v1.MediaTypeImageManifest, string(src[good.Digest]), 400, "DIGEST_INVALID"},
		"of a digest of no kind":   {"md5:0123", v1.MediaTypeImageManifest, string(src[good.Digest]), 400, "DIGEST_INVALID"},
		"of another class":         {"1", v1.MediaTypeImageManifest, artifact, 403, "DENIED"},
		"a layer lies elsewhere":   {"1", v1.MediaTypeImageManifest, foreign, 400, "MANIFEST_INVALID"},
		"its subject is no digest": {"1", v1.MediaTypeImageManifest, strings.Replace(string(src[good.Digest]), "{", `{"subject":{"digest":"x"},`, 1), 400, "MANIFEST_INVALID"},
	} {
		resp, body := w.send(http.MethodPut, "/v2/x/manifests/"+tt.ref, tt.body, "Content-Type", tt.mediaType)
		if resp.StatusCode != tt.status || errorCodes(t, body)[0] != tt.code {
			t.Errorf("%s: %s %.300s, want %d %s", name, resp.Status, body, tt.status, tt.code)
		}
	}
	w.want(200, http.MethodGet, "/v2/x/manifests/good", "")
	w.want(404, http.MethodGet, "/v2/x/manifests/1", "")
}

func TestAnswersCarryTheHeadersOfTheConfiguration(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	h, err := handlerOf(t, w.root, "catalog: {maxentries: 3}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := httptest.NewRecorder()
	h.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/v2/_catalog?n=4", nil))
	if got.Code != 400 {
		t.Errorf("more than the catalog's most: %d %s", got.Code, got.Body)
	}
	s := settings{headers: http.Header{"X-Content-Type-Options": {"nosniff"}}}
	got = httptest.NewRecorder()
	withHeaders(s.headers, h).ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	if diff := cmp.Diff([]string{"nosniff"}, got.Result().Header.Values("X-Content-Type-Options")); diff != "" {
		t.Error(diff)
	}
}

func TestConfigurationThatIsNotUnderstoodIsRefused(t *testing.T) {
	for name, more := range map[string]string{
		"a middleware":    "middleware: {registry: [{name: x}]}\n",
		"a pattern":       "validation: {manifests: {urls: {allow: ['(']}}}\n",
		"another pattern": "validation: {manifests: {urls: {deny: ['(']}}}\n",
	} {
		if _, err := handlerOf(t, t.TempDir(), more); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	good := map[any]any{"enabled": true, "age": "1h", "interval": "2h", "dryrun": false}
	if _, err := purgingOf(good); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]any{"age": 3, "interval": "often", "dryrun": "yes"} {
		bad := map[any]any{"enabled": true, "age": "1h", "interval": "2h", "dryrun": false}
		bad[name] = value
		if _, err := purgingOf(bad); err == nil {
			t.Errorf("%s: %v: no error", name, value)
		}
	}
	if _, err := purgingOf("x"); err == nil {
		t.Error("a word: no error")
	}
}

func TestEveryQuestionIsAnsweredToHead(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	src := registrytest.Source{}
	desc := src.Image("x", []byte("layer"))
	w.push("x", "1", src, desc)
	for _, path := range []string{"", "_catalog", "x/tags/list", "x/manifests/1", "x/blobs/" + digest.FromString("layer").String(), "x/referrers/" + desc.Digest.String()} {
		whole, _ := w.send(http.MethodGet, "/v2/"+path, "")
		head, body := w.send(http.MethodHead, "/v2/"+path, "")
		if head.StatusCode != 200 || body != "" || head.Header.Get("Content-Length") != whole.Header.Get("Content-Length") {
			t.Errorf("%s: HEAD %s, GET %s", path, head.Status, whole.Status)
		}
	}
	resp := w.want(405, http.MethodPost, "/v2/x/tags/list", "")
	if got := strings.Split(resp.Header.Get("Allow"), ", "); !slices.Equal(got, []string{"GET", "HEAD"}) {
		t.Errorf("Allow %v", got)
	}
}
