package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
)

// site is a bundle in memory that is being filled.
type site struct {
	t    *testing.T
	w    *bundle.Writer
	file bytes.Buffer
}

func newSite(t *testing.T) *site {
	s := &site{t: t}
	w, err := bundle.NewWriter(&s.file, bundle.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.w = w
	return s
}

func (s *site) blob(mediaType string, data []byte) v1.Descriptor {
	s.t.Helper()
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := s.w.AddBlob(s.t.Context(), d.Digest, d.Size, false, bytes.NewReader(data)); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *site) json(mediaType string, v any) v1.Descriptor {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.blob(mediaType, data)
}

func (s *site) image(name string, kind bundle.Kind, d v1.Descriptor) {
	s.t.Helper()
	i := bundle.Image{Name: name, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: []string{"linux/amd64"}, Size: d.Size, Kind: kind}
	if kind == bundle.KindCluster {
		i.ClusterType = "rootfs"
	}
	if err := s.w.AddImage(i); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) reader() *bundle.Reader {
	s.t.Helper()
	if _, err := s.w.Close(); err != nil {
		s.t.Fatal(err)
	}
	r, err := bundle.Open(bytes.NewReader(s.file.Bytes()), int64(s.file.Len()))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func TestPullsAreAllOfEveryContainerImage(t *testing.T) {
	s := newSite(t)
	config, layer := s.json(v1.MediaTypeImageConfig, v1.Image{}), s.blob(v1.MediaTypeImageLayerGzip, bytes.Repeat([]byte("l"), 4000))
	manifest := s.json(v1.MediaTypeImageManifest, v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer}})
	// The other platform's manifest is named and not there.
	other := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("other"), Size: 5}
	index := s.json(v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{manifest, other}})
	s.image("kubernetes:v1", bundle.KindCluster, manifest)
	s.image("reg.example:5000/a/b:1", bundle.KindImage, index)
	p, err := findPulls(s.reader())
	if err != nil {
		t.Fatal(err)
	}
	const repository = "/v2/reg.example_5000/a/b"
	want := []string{
		repository + "/manifests/" + index.Digest.String(), repository + "/manifests/" + manifest.Digest.String(),
		repository + "/blobs/" + config.Digest.String(), repository + "/blobs/" + layer.Digest.String(),
	}
	var got []string
	for _, one := range p.all {
		got = append(got, one.path)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if p.first.path != repository+"/manifests/1" || p.layer.digest != layer.Digest {
		t.Errorf("first %v, layer %v", p.first, p.layer)
	}
	if want := index.Size + manifest.Size + config.Size + layer.Size; p.bytes != want {
		t.Errorf("%d bytes, want %d", p.bytes, want)
	}
}

func TestPullOfOtherBytesFails(t *testing.T) {
	const content = "what the server answers"
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) }))
	defer h.Close()
	s := &server{url: h.URL, client: h.Client()}
	right := pull{"/v2/a/blobs/x", digest.FromString(content), int64(len(content))}
	if err := s.fetch(t.Context(), s.client, right, true); err != nil {
		t.Error(err)
	}
	longer, other := right, right
	longer.size++
	other.digest = digest.FromString("something else")
	for want, p := range map[string]pull{"bytes instead of": longer, "other bytes": other} {
		if err := s.fetch(t.Context(), s.client, p, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
