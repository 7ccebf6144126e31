package registry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestBlobsArePushedInEveryWayThereIs(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	const uploads = "/v2/x/y/blobs/uploads/"
	data := string(registrytest.Random(1, 100_000))
	d := digest.FromString(data).String()
	for name, push := range map[string]func(w writable, data, d string) *http.Response{
		"in one request": func(w writable, data, d string) *http.Response {
			return w.want(201, http.MethodPost, uploads+"?digest="+d, data)
		},
		"announced, and with the last request": func(w writable, data, d string) *http.Response {
			at := w.want(202, http.MethodPost, uploads+"?digest="+d, "").Header.Get("Location")
			return w.want(201, http.MethodPut, at+"?digest="+d, data)
		},
		"with the last request": func(w writable, data, d string) *http.Response {
			return w.want(201, http.MethodPut, w.begin("x/y")+"?digest="+d, data)
		},
		"in chunks": func(w writable, data, d string) *http.Response {
			at := w.begin("x/y")
			resp := w.want(202, http.MethodPatch, at, data[:60_000], "Content-Range", "0-59999")
			if got := resp.Header.Get("Range"); got != "0-59999" {
				w.Errorf("Range %s", got)
			}
			return w.want(201, http.MethodPut, resp.Header.Get("Location")+"?digest="+d, data[60_000:], "Content-Range", "60000-99999")
		},
		"as a stream": func(w writable, data, d string) *http.Response {
			resp := w.want(202, http.MethodPatch, w.begin("x/y"), data, "Transfer-Encoding", "chunked")
			return w.want(201, http.MethodPut, resp.Header.Get("Location")+"?digest="+d, "")
		},
		"from a repository that has it": func(w writable, data, d string) *http.Response {
			w.want(201, http.MethodPost, "/v2/other/blobs/uploads/?digest="+d, data)
			return w.want(201, http.MethodPost, uploads+"?mount="+d+"&from=other", "")
		},
		"from wherever it is": func(w writable, data, d string) *http.Response {
			w.want(201, http.MethodPost, "/v2/other/blobs/uploads/?digest="+d, data)
			return w.want(201, http.MethodPost, uploads+"?mount="+d, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := writable{t, w.url, w.root}
			resp := push(w, data, d)
			if got := resp.Header.Get("Docker-Content-Digest"); got != d {
				t.Errorf("Docker-Content-Digest %s", got)
			}
			if got, body := w.send(http.MethodGet, resp.Header.Get("Location"), ""); got.StatusCode != 200 || body != data {
				t.Errorf("what was pushed: %s, %d bytes", got.Status, len(body))
			}
			w.want(202, http.MethodDelete, resp.Header.Get("Location"), "")
			w.want(404, http.MethodHead, resp.Header.Get("Location"), "")
			if left := w.uploads(); len(left) > 0 {
				t.Errorf("left of the upload: %v", left)
			}
		})
	}
	empty := digest.FromBytes(nil).String()
	w.want(201, http.MethodPost, uploads+"?digest="+empty, "")
	w.want(200, http.MethodGet, "/v2/x/y/blobs/"+empty, "")
	for _, name := range []string{"missing from there", "missing everywhere"} {
		query := map[string]string{"missing from there": "?mount=" + d + "&from=nowhere", "missing everywhere": "?mount=" + digest.FromString("x").String()}[name]
		if w.want(202, http.MethodPost, uploads+query, "").Header.Get("Location") == "" {
			t.Errorf("%s: no upload instead", name)
		}
	}
}

func TestChunkThatDoesNotFollowIsRefusedAndTheUploadGoesOn(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	data := "0123456789"
	at := w.begin("x")
	w.want(202, http.MethodPatch, at, data[:4], "Content-Range", "0-3")
	for text, status := range map[string]int{"5-9": 416, "0-3": 416, "9-5": 416, "x-y": 416, "4": 416, "-1-3": 416, "4-9": 400} {
		w.want(status, http.MethodPatch, at, data[5:], "Content-Range", text)
	}
	w.want(416, http.MethodPut, at+"?digest="+digest.FromString(data).String(), data[5:], "Content-Range", "5-9")
	resp := w.want(204, http.MethodGet, at, "")
	if got := resp.Header.Get("Range"); got != "0-3" {
		t.Errorf("Range %s", got)
	}
	w.want(204, http.MethodHead, at, "")
	w.want(201, http.MethodPut, resp.Header.Get("Location")+"?digest="+digest.FromString(data).String(), data[4:])
	w.want(404, http.MethodGet, at, "")
}

func TestUploadGoesOnAfterTheRegistryWasStartedAgain(t *testing.T) {
	root := t.TempDir()
	first := serveWritable(t, root, "")
	at := strings.TrimPrefix(first.begin("x"), first.url)
	first.want(202, http.MethodPatch, at, "one ")
	w := serveWritable(t, root, "")
	w.want(202, http.MethodPatch, at, "two")
	w.want(201, http.MethodPut, at+"?digest="+digest.FromString("one two").String(), "")
	if _, body := w.send(http.MethodGet, "/v2/x/blobs/"+digest.FromString("one two").String(), ""); body != "one two" {
		t.Errorf("got %q", body)
	}
}

func TestWhatIsNotTheBlobThatWasAnnouncedIsThrownAway(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	d := digest.FromString("right").String()
	before := registrytest.Tree(t, w.root)
	w.want(400, http.MethodPost, "/v2/x/blobs/uploads/?digest="+d, "wrong")
	at := w.begin("x")
	w.want(202, http.MethodPatch, at, "wro")
	w.want(400, http.MethodPut, at+"?digest="+d, "ng")
	w.want(404, http.MethodGet, at, "")
	cancelled := w.begin("x")
	w.want(202, http.MethodPatch, cancelled, "something")
	w.want(204, http.MethodDelete, cancelled, "")
	w.want(404, http.MethodDelete, cancelled, "")
	if diff := cmp.Diff(before, registrytest.Tree(t, w.root)); diff != "" {
		t.Errorf("the store (-before +after):\n%s", diff)
	}
}

func TestDigestsThatTheStoreCannotKeepAreRefused(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	for _, d := range []string{digest.SHA512.FromString("x").String(), "sha256:abc", "nonsense", ""} {
		resp, body := w.send(http.MethodPut, w.begin("x")+"?digest="+d, "x")
		if codes := errorCodes(t, body); resp.StatusCode != 400 || codes[0] != "DIGEST_INVALID" {
			t.Errorf("%q: %s %s", d, resp.Status, body)
		}
	}
}

func TestUploadsOfOthersCannotBeReached(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	at := strings.TrimPrefix(w.begin("x"), w.url)
	id := at[strings.LastIndex(at, "/")+1:]
	for _, path := range []string{"/v2/y/blobs/uploads/" + id, "/v2/x/blobs/uploads/" + strings.Repeat("0", 36), "/v2/x/blobs/uploads/.x", "/v2/x/blobs/uploads/ABC"} {
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
			w.want(404, method, path, "")
		}
	}
}

func TestDamagedBlobIsBackWhenItIsPushedAgain(t *testing.T) {
	root := t.TempDir()
	w := serveWritable(t, root, "")
	src := registrytest.Source{}
	w.push("x", "1", src, src.Image("x", []byte("layer")))
	d := digest.FromString("layer")
	file := disk.Open(root).Path(disk.BlobData(d))
	if err := os.WriteFile(file, []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.want(404, http.MethodGet, "/v2/x/blobs/"+d.String(), "")
	w.pushBlobs("x", src)
	w.want(200, http.MethodGet, "/v2/x/blobs/"+d.String(), "")
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the blob lie %v, %v", entries, err)
	}
}

// cutOff is a body that breaks off.
type cutOff struct{ r io.Reader }

func (c cutOff) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestUploadKeepsWhatCameBeforeTheConnectionBroke(t *testing.T) {
	root := t.TempDir()
	h, err := handlerOf(t, root, "")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string, body io.Reader) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), method, path, body))
		return w
	}
	at := ask(http.MethodPost, "/v2/x/blobs/uploads/", nil).Header().Get("Location")
	if w := ask(http.MethodPatch, at, cutOff{bytes.NewReader([]byte("first "))}); w.Code != 400 {
		t.Errorf("cut off: %d %s", w.Code, w.Body)
	}
	if got := ask(http.MethodGet, at, nil).Header().Get("Range"); got != "0-5" {
		t.Errorf("Range %s", got)
	}
	if w := ask(http.MethodPut, at+"?digest="+digest.FromString("first second").String(), strings.NewReader("second")); w.Code != 201 {
		t.Errorf("the rest: %d %s", w.Code, w.Body)
	}
}
