package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// The tests of this file are the pull and discovery parts of the OCI distribution specification, in place and from a store.

// errorCodes reads an error body in the form of the specification.
func errorCodes(t *testing.T, body string) (codes []string) {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) == 0 {
		t.Errorf("not an error body: %q (%v)", body, err)
	}
	for _, one := range e.Errors {
		codes = append(codes, one.Code)
	}
	return codes
}

func TestHeadAnswersLikeGetWithoutBody(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, src registrytest.Source, c catalog.Catalog) {
		r := registrytest.RepositoryOf(t, c, "registry.k8s.io/pause")
		d := r.Tags["3.10"]
		for path, want := range map[string]digest.Digest{
			"manifests/3.10":                             d,
			"manifests/" + d.String():                    d,
			"blobs/" + r.Layers[0].Digest.String():       r.Layers[0].Digest,
			"blobs/" + r.Layers[1].Digest.String():       r.Layers[1].Digest,
			"manifests/" + string(r.Manifests[0].Digest): r.Manifests[0].Digest,
		} {
			url := s.URL + "/v2/registry.k8s.io/pause/" + path
			head, none := registrytest.Do(t, http.MethodHead, url)
			whole, body := registrytest.Get(t, url)
			if head.StatusCode != 200 || whole.StatusCode != 200 || none != "" || digest.FromString(body) != want {
				t.Errorf("%s: HEAD %s, GET %s with %d bytes", path, head.Status, whole.Status, len(body))
			}
			for _, name := range []string{"Content-Length", "Content-Type", "Docker-Content-Digest", "Etag", "Docker-Distribution-Api-Version"} {
				if head.Header.Get(name) != whole.Header.Get(name) || head.Header.Get(name) == "" {
					t.Errorf("%s: %s is %q for HEAD, %q for GET", path, name, head.Header.Get(name), whole.Header.Get(name))
				}
			}
			if got := head.Header.Get("Docker-Content-Digest"); got != want.String() {
				t.Errorf("%s: Docker-Content-Digest %s", path, got)
			}
			if got := head.Header.Get("Content-Length"); got != fmt.Sprint(len(src[want])) {
				t.Errorf("%s: Content-Length %s", path, got)
			}
		}
	})
}

func TestWhatIsNotThereIsAnsweredWithItsCode(t *testing.T) {
	unknown := digest.FromString("nobody has this").String()
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		r := registrytest.RepositoryOf(t, c, "registry.k8s.io/pause")
		layer := r.Layers[0].Digest.String()
		for _, tt := range []struct {
			path   string
			status int
			codes  []string
		}{
			{"registry.k8s.io/pause/manifests/9.9", 404, []string{"MANIFEST_UNKNOWN"}},
			{"registry.k8s.io/pause/manifests/" + unknown, 404, []string{"MANIFEST_UNKNOWN"}},
			{"registry.k8s.io/nothing/manifests/1", 404, []string{"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}},
			{"registry.k8s.io/nothing/tags/list", 404, []string{"NAME_UNKNOWN"}},
			{"registry.k8s.io/pause/blobs/" + unknown, 404, []string{"BLOB_UNKNOWN"}},
			{"registry.k8s.io/nothing/blobs/" + layer, 404, []string{"BLOB_UNKNOWN", "NAME_UNKNOWN"}},
			{"docker.io/library/nginx/blobs/" + layer, 404, []string{"BLOB_UNKNOWN"}}, // another repository's
			{"registry.k8s.io/pause/blobs/sha512:" + strings.Repeat("a", 128), 404, []string{"BLOB_UNKNOWN"}},
			{"registry.k8s.io/pause/blobs/sha256:abc", 400, []string{"DIGEST_INVALID"}},
			{"registry.k8s.io/pause/blobs/nonsense", 400, []string{"DIGEST_INVALID"}},
			{"Capital/blobs/" + layer, 400, []string{"NAME_INVALID"}},
			{"Capital/manifests/1", 400, []string{"NAME_INVALID"}},
			{"a/../b/tags/list", 0, nil}, // cleaned by the client or redirected: never a file
		} {
			resp, body := registrytest.Get(t, s.URL+"/v2/"+tt.path)
			if tt.status == 0 {
				if resp.StatusCode == 200 {
					t.Errorf("%s: %s", tt.path, resp.Status)
				}
				continue
			}
			codes := errorCodes(t, body)
			if resp.StatusCode != tt.status || !slices.Contains(tt.codes, codes[0]) {
				t.Errorf("%s: %s %s, want %d %v", tt.path, resp.Status, codes, tt.status, tt.codes)
			}
			if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
				t.Errorf("%s: Content-Type %s", tt.path, ct)
			}
			if strings.HasSuffix(tt.path, "/list") {
				continue // for GET only
			}
			head, _ := registrytest.Do(t, http.MethodHead, s.URL+"/v2/"+tt.path)
			if head.StatusCode != resp.StatusCode {
				t.Errorf("%s: HEAD %s, GET %s", tt.path, head.Status, resp.Status)
			}
		}
	})
}

func TestRangesFollowTheStandard(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, src registrytest.Source, c catalog.Catalog) {
		r := registrytest.RepositoryOf(t, c, "docker.io/library/nginx")
		b := r.Layers[slices.IndexFunc(r.Layers, func(b catalog.Blob) bool { return b.Size == 700_000 })]
		data := string(src[b.Digest])
		url := s.URL + "/v2/nginx/blobs/" + b.Digest.String()
		etag := `"` + b.Digest.String() + `"`
		for _, tt := range []struct {
			header []string
			status int
			body   string
			sent   string // Content-Range
		}{
			{[]string{"Range", "bytes=0-0"}, 206, data[:1], "bytes 0-0/700000"},
			{[]string{"Range", "bytes=5-9"}, 206, data[5:10], "bytes 5-9/700000"},
			{[]string{"Range", "bytes=699999-"}, 206, data[699999:], "bytes 699999-699999/700000"},
			{[]string{"Range", "bytes=600000-9999999"}, 206, data[600000:], "bytes 600000-699999/700000"},
			{[]string{"Range", "bytes=-10"}, 206, data[699990:], "bytes 699990-699999/700000"},
			{[]string{"Range", "bytes=0-699999"}, 206, data, "bytes 0-699999/700000"},
			{[]string{"Range", "bytes=1-2", "If-Range", etag}, 206, data[1:3], "bytes 1-2/700000"},
			{[]string{"Range", "bytes=1-2", "If-Range", `"other"`}, 200, data, ""},
			{[]string{"Range", "bytes=700000-"}, 416, "", "bytes */700000"},
			{[]string{"Range", "bytes=800000-900000"}, 416, "", "bytes */700000"},
			{[]string{"Range", "bytes=9-5"}, 416, "", ""},
			{[]string{"If-None-Match", etag}, 304, "", ""},
			{[]string{"If-None-Match", `"other"`}, 200, data, ""},
		} {
			resp, body := registrytest.Get(t, url, tt.header...)
			if resp.StatusCode != tt.status || (tt.status < 300 && body != tt.body) || (tt.sent != "" && resp.Header.Get("Content-Range") != tt.sent) {
				t.Errorf("%v: %s, %d bytes, Content-Range %q", tt.header, resp.Status, len(body), resp.Header.Get("Content-Range"))
			}
			if tt.status < 300 && resp.Header.Get("Accept-Ranges") != "bytes" {
				t.Errorf("%v: Accept-Ranges %q", tt.header, resp.Header.Get("Accept-Ranges"))
			}
		}
	})
}

func TestManifestThatTheClientHasIsNotSentAgain(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		d := registrytest.RepositoryOf(t, c, "docker.io/library/nginx").Tags["1.29"]
		for _, ref := range []string{"1.29", d.String()} {
			resp, body := registrytest.Get(t, s.URL+"/v2/nginx/manifests/"+ref, "If-None-Match", `"`+d.String()+`"`)
			if resp.StatusCode != 304 || body != "" {
				t.Errorf("%s: %s, %d bytes", ref, resp.Status, len(body))
			}
			resp, body = registrytest.Get(t, s.URL+"/v2/nginx/manifests/"+ref, "If-None-Match", `"other"`)
			if resp.StatusCode != 200 || digest.FromString(body) != d {
				t.Errorf("%s with another's: %s, %d bytes", ref, resp.Status, len(body))
			}
		}
	})
}

func TestManifestsComeForWhateverIsAccepted(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		for ref, mediaType := range map[string]string{"pause/manifests/3.10": v1.MediaTypeImageIndex, "nginx/manifests/1.29": v1.MediaTypeImageManifest} {
			name, _, _ := strings.Cut(ref, "/")
			if name == "nginx" {
				ref = "docker.io/library/" + ref
			}
			for _, accept := range []string{"", "*/*", "application/*", mediaType, "text/html, " + mediaType + ";q=0.5, */*;q=0.1"} {
				resp, body := registrytest.Get(t, s.URL+"/v2/"+ref, "Accept", accept)
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != mediaType {
					t.Errorf("%s, Accept %q: %s %s %.100s", ref, accept, resp.Status, resp.Header.Get("Content-Type"), body)
				}
			}
			if name == "pause" {
				continue // an index may be sent to whom it was not promised
			}
			if resp, body := registrytest.Get(t, s.URL+"/v2/"+ref, "Accept", "text/html"); resp.StatusCode != 404 || errorCodes(t, body)[0] != "MANIFEST_UNKNOWN" {
				t.Errorf("%s, Accept text/html: %s %s", ref, resp.Status, body)
			}
		}
	})
}

// pages follows the Link headers from url on and returns what each page lists.
func pages(t *testing.T, base, url, field string) (all [][]string) {
	t.Helper()
	for range 20 {
		resp, body := registrytest.Get(t, base+url)
		var got map[string]json.RawMessage
		var names []string
		if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %s %s", url, resp.Status, body)
		}
		if err := json.Unmarshal(got[field], &names); err != nil {
			t.Fatalf("%s: %s: %v", url, body, err)
		}
		if len(names) > 0 || len(all) == 0 { // a last page may be empty
			all = append(all, names)
		}
		link := resp.Header.Get("Link")
		if link == "" {
			return all
		}
		next, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if !ok || !strings.Contains(rest, `rel="next"`) {
			t.Fatalf("%s: Link %q", url, link)
		}
		url = next
	}
	t.Fatal("the pages have no end")
	return nil
}

func TestTagsAndCatalogComeInPages(t *testing.T) {
	m := registrytest.Source{}
	var refs []catalog.Ref
	for _, tag := range []string{"v3", "v1", "v2", "latest", "V0"} {
		refs = append(refs, catalog.Ref{Name: "quay.io/x/app:" + tag, Digest: m.Image("app", []byte(tag)).Digest})
	}
	for _, name := range []string{"quay.io/b", "quay.io/a", "ghcr.io/z/y"} {
		refs = append(refs, catalog.Ref{Name: name + ":1", Digest: m.Image(name, []byte(name)).Digest})
	}
	c, err := catalog.Build(t.Context(), refs, m)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	registrytest.Fill(t, c, m, disk.Open(root))
	for name, o := range map[string]HandlerOptions{"in place": {Catalog: &c, Source: m}, "from a store": {Root: root}} {
		t.Run(name, func(t *testing.T) {
			h, err := NewHandler(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(h)
			defer s.Close()
			for url, want := range map[string][][]string{
				"/v2/quay.io/x/app/tags/list":             {{"V0", "latest", "v1", "v2", "v3"}},
				"/v2/quay.io/x/app/tags/list?n=2":         {{"V0", "latest"}, {"v1", "v2"}, {"v3"}},
				"/v2/quay.io/x/app/tags/list?last=v1":     {{"v2", "v3"}},
				"/v2/quay.io/x/app/tags/list?n=1&last=v1": {{"v2"}, {"v3"}},
				"/v2/app/tags/list?n=3&last=V":            nil, // not the path of any repository
				"/v2/x/app/tags/list?n=3&last=V":          {{"V0", "latest", "v1"}, {"v2", "v3"}},
			} {
				if want == nil {
					if resp, body := registrytest.Get(t, s.URL+url); resp.StatusCode != 404 || errorCodes(t, body)[0] != "NAME_UNKNOWN" {
						t.Errorf("%s: %s %s", url, resp.Status, body)
					}
					continue
				}
				if diff := cmp.Diff(want, pages(t, s.URL, url, "tags")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", url, diff)
				}
			}
			for url, want := range map[string][][]string{
				"/v2/_catalog":                 {{"ghcr.io/z/y", "quay.io/a", "quay.io/b", "quay.io/x/app"}},
				"/v2/_catalog?n=3":             {{"ghcr.io/z/y", "quay.io/a", "quay.io/b"}, {"quay.io/x/app"}},
				"/v2/_catalog?n=1&last=quay.i": {{"quay.io/a"}, {"quay.io/b"}, {"quay.io/x/app"}},
			} {
				if diff := cmp.Diff(want, pages(t, s.URL, url, "repositories")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", url, diff)
				}
			}
			for _, url := range []string{"/v2/quay.io/x/app/tags/list?n=-1", "/v2/_catalog?n=x"} {
				if resp, body := registrytest.Get(t, s.URL+url); resp.StatusCode != 400 || errorCodes(t, body)[0] != "PAGINATION_NUMBER_INVALID" {
					t.Errorf("%s: %s %s", url, resp.Status, body)
				}
			}
		})
	}
}
