package registry

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// The tests of this file are the referrers API of the OCI distribution specification.

// artifact makes a manifest that says something about subject, and the descriptor that the API has to list.
func artifact(m registrytest.Source, artifactType string, subject v1.Descriptor, annotations map[string]string) v1.Descriptor {
	man := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: m.Descriptor(v1.MediaTypeEmptyJSON, []byte("{}")), Layers: []v1.Descriptor{m.Descriptor("text/plain", []byte(artifactType))},
		Subject: &subject, Annotations: annotations,
	}
	data, _ := json.Marshal(man)
	desc := m.Descriptor(v1.MediaTypeImageManifest, data)
	desc.ArtifactType, desc.Annotations = artifactType, annotations
	return desc
}

// indexOf is an index that says something about subject.
func indexOf(m registrytest.Source, subject v1.Descriptor) v1.Descriptor {
	data, _ := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, ArtifactType: "application/vnd.example.list",
		Manifests: []v1.Descriptor{}, Subject: &subject,
	})
	desc := m.Descriptor(v1.MediaTypeImageIndex, data)
	desc.ArtifactType = "application/vnd.example.list"
	return desc
}

// referrers asks for a list, and checks that it is an index.
func referrers(t *testing.T, url string) (*http.Response, []v1.Descriptor) {
	t.Helper()
	resp, body := registrytest.Get(t, url)
	var index v1.Index
	if err := json.Unmarshal([]byte(body), &index); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s %.300s (%v)", url, resp.Status, body, err)
	}
	if got := resp.Header.Get("Content-Type"); got != v1.MediaTypeImageIndex || index.MediaType != got || index.SchemaVersion != 2 || index.Manifests == nil {
		t.Errorf("%s: not an index: %s %.300s", url, got, body)
	}
	return resp, index.Manifests
}

func sorted(list ...v1.Descriptor) []v1.Descriptor {
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return list
}

func TestReferrersAreListed(t *testing.T) {
	m := registrytest.Source{}
	subject := m.Image("app", []byte("layer"))
	signature := artifact(m, "application/vnd.example.signature", subject, map[string]string{"by": "somebody"})
	sbom := artifact(m, "application/vnd.example.sbom", subject, nil)
	list := indexOf(m, subject)
	// An image of before may refer, too: its type is that of its configuration.
	plain := artifact(m, "", subject, nil)
	plain.ArtifactType = v1.MediaTypeEmptyJSON
	other := artifact(m, "application/vnd.example.sbom", m.Image("other"), nil)
	refs := []catalog.Ref{{Name: "quay.io/x/app:1", Digest: subject.Digest}, {Name: "ghcr.io/y:1", Digest: m.Image("y").Digest}}
	for _, d := range []v1.Descriptor{signature, sbom, list, plain, other} {
		refs = append(refs, catalog.Ref{Name: "quay.io/x/app@" + d.Digest.String(), Digest: d.Digest})
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
			of := "/referrers/" + subject.Digest.String()
			for query, want := range map[string][]v1.Descriptor{
				"quay.io/x/app" + of:                sorted(signature, sbom, list, plain),
				"x/app" + of:                        sorted(signature, sbom, list, plain),
				"x/app" + of + "?ns=quay.io":        sorted(signature, sbom, list, plain),
				"x/app" + of + "?ns=ghcr.io":        {},
				"y" + of:                            {},
				"nobody/has/this" + of:              {},
				"x/app" + of + "?artifactType=none": {},
				"x/app" + of + "?artifactType=application/vnd.example.sbom":                                                {sbom},
				"x/app" + of + "?artifactType=application/vnd.example.sbom&artifactType=" + "application/vnd.example.list": sorted(sbom, list),
				"x/app/referrers/" + digest.FromString("nothing").String():                                                 {},
				"x/app/referrers/" + m.Image("other").Digest.String():                                                      {other},
			} {
				for range 2 { // the second time subjects are known
					resp, got := referrers(t, s.URL+"/v2/"+query)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-want +got):\n%s", query, diff)
					}
					filtered := strings.Contains(query, "artifactType")
					if got := resp.Header.Get("OCI-Filters-Applied"); (got == "artifactType") != filtered {
						t.Errorf("%s: OCI-Filters-Applied %q", query, got)
					}
				}
			}
			if resp, body := registrytest.Get(t, s.URL+"/v2/x/app/referrers/sha256:abc"); resp.StatusCode != 400 || errorCodes(t, body)[0] != "DIGEST_INVALID" {
				t.Errorf("no digest: %s %s", resp.Status, body)
			}
		})
	}
}

func TestReferrersFollowWhatIsPushedAndDeleted(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	src := registrytest.Source{}
	subject := src.Image("app", []byte("layer"))
	sbom := artifact(src, "application/vnd.example.sbom", subject, nil)
	url := w.url + "/v2/x/referrers/" + subject.Digest.String()
	list := func(want ...v1.Descriptor) {
		t.Helper()
		if _, got := referrers(t, url); !cmp.Equal(want, got) && len(want)+len(got) > 0 {
			t.Errorf("-want +got:\n%s", cmp.Diff(want, got))
		}
	}
	list()
	// The subject need not be there yet.
	if got := w.push("x", sbom.Digest.String(), src, sbom).Header.Get("OCI-Subject"); got != subject.Digest.String() {
		t.Errorf("OCI-Subject %q", got)
	}
	list(sbom)
	if got, ok := w.push("x", "1", src, subject).Header["Oci-Subject"]; ok {
		t.Errorf("OCI-Subject of an image without: %q", got)
	}
	signature := artifact(src, "application/vnd.example.signature", subject, nil)
	w.push("x", "signature", src, signature)
	list(sorted(sbom, signature)...)
	w.want(202, http.MethodDelete, "/v2/x/manifests/signature", "")
	list(sorted(sbom, signature)...) // a tag was deleted, not what it named
	w.want(202, http.MethodDelete, "/v2/x/manifests/"+signature.Digest.String(), "")
	list(sbom)
	w.push("x", "signature", src, signature)
	list(sorted(sbom, signature)...)
}

func TestReferrersComeWithASync(t *testing.T) {
	w := serveWritable(t, t.TempDir(), "")
	src := registrytest.Source{}
	subject := src.Image("app", []byte("layer"))
	sbom := artifact(src, "application/vnd.example.sbom", subject, nil)
	w.push("x", "1", src, subject)
	w.push("x", sbom.Digest.String(), src, sbom)
	c, err := disk.Open(w.root).Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := serveWritable(t, t.TempDir(), "")
	mustFill(t, c, disk.Open(w.root), disk.Open(other.root))
	_, got := referrers(t, other.url+"/v2/x/referrers/"+subject.Digest.String())
	if diff := cmp.Diff([]v1.Descriptor{sbom}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDamagedReferrerIsNotListedUntilItIsBack(t *testing.T) {
	src := registrytest.Source{}
	subject := src.Image("app", []byte("layer"))
	sbom := artifact(src, "application/vnd.example.sbom", subject, nil)
	c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/x:1", Digest: subject.Digest}, {Name: "quay.io/x@" + sbom.Digest.String(), Digest: sbom.Digest}}, src)
	if err != nil {
		t.Fatal(err)
	}
	s := serveStore(t, src, c)
	s.spoil(t, sbom.Digest)
	url := s.URL + "/v2/x/referrers/" + subject.Digest.String()
	if _, got := referrers(t, url); len(got) > 0 {
		t.Errorf("listed: %v", got)
	}
	if err := os.WriteFile(s.store.Path(disk.BlobData(sbom.Digest)), src[sbom.Digest], 0o644); err != nil {
		t.Fatal(err)
	}
	_, got := referrers(t, url)
	if diff := cmp.Diff([]v1.Descriptor{sbom}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestManyReferrersComeInPages(t *testing.T) {
	src := registrytest.Source{}
	subject := src.Image("app", []byte("layer"))
	var want []v1.Descriptor
	refs := []catalog.Ref{{Name: "quay.io/x:1", Digest: subject.Digest}}
	for range 5 {
		d := artifact(src, "application/vnd.example.sbom", subject, map[string]string{"n": strings.Repeat(string(rune('a'+len(want))), ocigraph.MaxManifest*2/5)})
		want = append(want, d)
		refs = append(refs, catalog.Ref{Name: "quay.io/x@" + d.Digest.String(), Digest: d.Digest})
	}
	c, err := catalog.Build(t.Context(), refs, src)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	var got []v1.Descriptor
	var sizes []int
	for url := "/v2/quay.io/x/referrers/" + subject.Digest.String() + "?artifactType=application/vnd.example.sbom"; url != ""; {
		resp, page := referrers(t, s.URL+url)
		got, sizes = append(got, page...), append(sizes, len(page))
		url, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	}
	if diff := cmp.Diff([]int{2, 2, 1}, sizes); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sorted(want...), got); diff != "" {
		t.Errorf("-want +got:\n%.2000s", diff)
	}
}
