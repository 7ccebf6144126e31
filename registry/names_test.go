package registry

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestNamesAreResolved(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		tags := map[string]digest.Digest{}
		for _, r := range c.Repositories {
			for tag, d := range r.Tags {
				tags[r.Name+":"+tag] = d
			}
		}
		pause, nginx, app, x := tags["registry.k8s.io/pause:3.10"], tags["docker.io/library/nginx:1.29"], tags["quay.io/app/nginx:1"], tags["localhost_5000/x/y:latest"]
		for _, tt := range []struct {
			path string
			want digest.Digest // "" for 404
		}{
			{"registry.k8s.io/pause/manifests/3.10", pause},
			{"pause/manifests/3.10", pause},
			{"pause/manifests/3.10?ns=registry.k8s.io", pause},
			{"pause/manifests/3.10?ns=REGISTRY.k8s.io", pause},
			{"pause/manifests/3.10?ns=quay.io", ""},
			{"pause/manifests/3.10?ns=sealos.hub:5000", pause},
			{"registry.k8s.io/pause/manifests/3.10?ns=sealos.hub", pause},
			{"library/nginx/manifests/1.29", nginx},
			{"nginx/manifests/1.29", nginx},
			{"nginx/manifests/1.29?ns=docker.io", nginx},
			{"library/nginx/manifests/1.29?ns=docker.io", nginx},
			{"library/nginx/manifests/1.29?ns=registry-1.docker.io", nginx},
			{"app/nginx/manifests/1?ns=quay.io", app},
			{"app/nginx/manifests/1", app},
			{"app/nginx/manifests/1?ns=docker.io", ""},
			{"x/y/manifests/latest?ns=localhost:5000", x},
			{"x/y/manifests/latest", x},
			{"x/y/manifests/latest?ns=localhost:6000", ""},
			{"y/manifests/latest", ""},
			{"nothing/manifests/latest", ""},
			{"pause/manifests/..%2f..%2f3.10?ns=../..", ""},
		} {
			resp, body := registrytest.Get(t, s.URL+"/v2/"+tt.path)
			if tt.want == "" {
				if resp.StatusCode != 404 {
					t.Errorf("%s: %s, want 404", tt.path, resp.Status)
				}
				continue
			}
			if resp.StatusCode != 200 || digest.FromString(body) != tt.want {
				t.Errorf("%s: %s %.100s", tt.path, resp.Status, body)
			}
		}
	})
}

func TestBlobsAndTagsAnswerByPathToo(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		for _, r := range c.Repositories {
			if r.Name != "registry.k8s.io/pause" {
				continue
			}
			if resp, _ := registrytest.Do(t, http.MethodHead, s.URL+"/v2/pause/blobs/"+r.Layers[0].Digest.String()); resp.StatusCode != 200 {
				t.Errorf("blob by path: %s", resp.Status)
			}
			if resp, _ := registrytest.Get(t, s.URL+"/v2/pause/blobs/"+r.Layers[0].Digest.String()+"?ns=quay.io"); resp.StatusCode != 404 {
				t.Errorf("blob of another registry: %s", resp.Status)
			}
		}
		resp, body := registrytest.Get(t, s.URL+"/v2/pause/tags/list")
		if resp.StatusCode != 200 || !strings.Contains(body, `"3.10"`) {
			t.Errorf("tags by path: %s %s", resp.Status, body)
		}
		resp, body = registrytest.Get(t, s.URL+"/v2/registry.k8s.io/coredns/tags/list")
		if strings.Contains(body, `"latest"`) || (resp.StatusCode != 200 && resp.StatusCode != 404) {
			t.Errorf("tags of a repository without any: %s %s", resp.Status, body)
		}
	})
}

func TestAmbiguousPathNamesTheCandidates(t *testing.T) {
	src := registrytest.Source{}
	d := src.Image("a", []byte("a")).Digest
	c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/pause:1", Digest: d}, {Name: "ghcr.io/pause:1", Digest: d}}, src)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	resp, body := registrytest.Get(t, s.URL+"/v2/pause/manifests/1")
	if resp.StatusCode != 404 || !strings.Contains(body, "quay.io/pause") || !strings.Contains(body, "ghcr.io/pause") {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := registrytest.Get(t, s.URL+"/v2/pause/manifests/1?ns=ghcr.io"); resp.StatusCode != 200 {
		t.Errorf("with ns: %s", resp.Status)
	}
}

func TestCatalogAndPing(t *testing.T) {
	eachWay(t, func(t *testing.T, s *httptest.Server, _ registrytest.Source, c catalog.Catalog) {
		if resp, body := registrytest.Get(t, s.URL+"/v2/"); resp.StatusCode != 200 || body != "{}" {
			t.Errorf("ping: %s %q", resp.Status, body)
		}
		_, body := registrytest.Get(t, s.URL+"/v2/_catalog?n=1000")
		var got struct{ Repositories []string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, r := range c.Repositories {
			want = append(want, r.Name)
		}
		if diff := cmp.Diff(want, got.Repositories); diff != "" {
			t.Errorf("catalog (-want +got):\n%s", diff)
		}
		_, body = registrytest.Get(t, s.URL+"/v2/_catalog?n=2&last="+want[1])
		if !strings.Contains(body, want[2]) || strings.Contains(body, want[0]) {
			t.Errorf("second page: %s", body)
		}
	})
}
