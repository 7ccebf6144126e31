package pull

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

var (
	arm64   = v1.Platform{OS: "linux", Architecture: "arm64"}
	windows = v1.Platform{OS: "windows", Architecture: "amd64"}
)

// unnamed drops what an index would say of a platform.
func unnamed(all ...v1.Descriptor) []v1.Descriptor {
	for i := range all {
		all[i].Platform = nil
	}
	return all
}

// asHosts are the configs that hosts of the platforms come to, as containerd goes down an index.
func asHosts(t *testing.T, s *store.Store, p store.Pinned, platforms ...v1.Platform) []string {
	t.Helper()
	load := func(d v1.Descriptor) (ocigraph.Manifest, error) { return ocigraph.Read(s, d.Digest) }
	root, err := load(v1.Descriptor{Digest: p.Digest})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, want := range platforms {
		m := root
		if m.Config == nil {
			d, ok, err := ocigraph.Platforms{Load: load}.ForHost(root, want)
			if err != nil || !ok {
				t.Fatalf("%s for %s: %t, %v", p.Ref, store.Platform(want), ok, err)
			}
			if m, err = load(d); err != nil {
				t.Fatal(err)
			}
		}
		config, err := ocigraph.ReadConfig(s, m.Config.Digest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, store.Platform(config.Platform))
	}
	return all
}

func TestIndexesThatNameNoPlatformsAreReadForThem(t *testing.T) {
	u := upstreamtest.New(t)
	push := func(name string) map[string]v1.Descriptor {
		all := map[string]v1.Descriptor{}
		for _, p := range []v1.Platform{amd64, arm64, windows, {OS: "unknown", Architecture: "unknown"}} {
			all[p.OS+p.Architecture] = u.PushImage(t, name, "", p, upstreamtest.Layer(name+store.Platform(p), 1000))
		}
		return all
	}
	nest := func(name string, p *v1.Platform, below ...v1.Descriptor) v1.Descriptor {
		raw := u.PushIndex(t, name, "part", below...)
		return v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: raw, Platform: p}
	}
	for name, make := range map[string]func(name string, c map[string]v1.Descriptor) []v1.Descriptor{
		"unnamed": func(_ string, c map[string]v1.Descriptor) []v1.Descriptor {
			return unnamed(c["unknownunknown"], c["windowsamd64"], c["linuxarm64"], c["linuxamd64"])
		},
		"emptily-named": func(_ string, c map[string]v1.Descriptor) []v1.Descriptor {
			all := unnamed(c["linuxarm64"], c["linuxamd64"])
			for i := range all {
				all[i].Platform = &v1.Platform{}
			}
			proof := u.PushLayers(t, "emptily-named", "", v1.Image{})
			proof.Platform, proof.Annotations = nil, map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
			return append(all, proof)
		},
		"half-named": func(_ string, c map[string]v1.Descriptor) []v1.Descriptor {
			return append(unnamed(c["linuxamd64"]), c["linuxarm64"])
		},
		"nested": func(name string, c map[string]v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{nest(name, &arm64, c["linuxarm64"]), nest(name, &amd64, c["linuxamd64"])}
		},
		"nested-unnamed": func(name string, c map[string]v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{nest(name, nil, c["linuxarm64"]), nest(name, nil, unnamed(c["linuxamd64"])...), c["unknownunknown"]}
		},
		"nested-once": func(name string, c map[string]v1.Descriptor) []v1.Descriptor {
			return []v1.Descriptor{nest(name, nil, nest(name, nil, c["linuxarm64"], c["linuxamd64"]))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			u.PushIndex(t, name, "v1", make(name, push(name))...)
			for _, platforms := range [][]v1.Platform{{amd64}, {arm64}, {amd64, arm64}} {
				s := newStore(t)
				o := options(u)
				o.Platforms = platforms
				p := gatherAll(t, s, wanted(u.Ref(name+":v1")), o).Images[0]
				var want []string
				for _, platform := range platforms {
					want = append(want, store.Platform(platform))
				}
				if diff := cmp.Diff(want, p.Platforms); diff != "" {
					t.Errorf("platforms (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want, asHosts(t, s, p, platforms...)); diff != "" {
					t.Errorf("hosts get (-want +got):\n%s", diff)
				}
				blobs, err := s.Walk(v1.Descriptor{Digest: p.Digest}, p.Platforms...)
				if err != nil || store.Size(blobs) != p.Size {
					t.Errorf("%d bytes, recorded as %d: %v", store.Size(blobs), p.Size, err)
				}
				// A second run finds the same.
				if err := s.Save(store.Record{Name: "cluster:v1", Manifest: v1.Descriptor{Digest: p.Digest}, Images: []store.Pinned{p}}); err != nil {
					t.Fatal(err)
				}
				u.Counts()
				again := gatherAll(t, s, wanted(u.Ref(name+":v1")), o).Images[0]
				if diff := cmp.Diff(p, again); diff != "" {
					t.Errorf("the second run (-first +second):\n%s", diff)
				}
				if got := u.Counts(); got["GET blob"] > 0 || got["GET manifest"] > 0 {
					t.Errorf("the second run asked for %v", got)
				}
			}
			o := options(u)
			o.Platforms = []v1.Platform{{OS: "linux", Architecture: "s390x"}}
			_, err := Gather(t.Context(), newStore(t), wanted(u.Ref(name+":v1")), o)
			if err == nil || !strings.Contains(err.Error(), "no image for linux/s390x; it exists for linux/amd64, linux/arm64") {
				t.Errorf("another platform: error is %v", err)
			}
		})
	}
}

func TestPinnedIndexIsTakenIfHostsFindTheirImageInIt(t *testing.T) {
	u := upstreamtest.New(t)
	a := u.PushImage(t, "app", "", amd64, upstreamtest.Layer("pinned amd64", 1000))
	b := u.PushImage(t, "app", "", arm64, upstreamtest.Layer("pinned arm64", 1000))
	named := u.PushIndex(t, "app", "named", a, b)
	nested := u.PushIndex(t, "app", "nested", v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: named})
	bare := u.PushIndex(t, "app", "bare", unnamed(a, b)...)
	for _, tc := range []struct {
		pin       digest.Digest
		platforms []v1.Platform
		own       bool
		refused   string
	}{
		{nested, []v1.Platform{amd64, arm64}, false, ""},
		{bare, []v1.Platform{amd64}, false, ""}, // the first of it
		{bare, []v1.Platform{arm64}, false, "pin that image by its own digest, " + b.Digest.String()},
		{bare, []v1.Platform{amd64, arm64}, false, "does not say which of its images is for linux/arm64"},
		{bare, []v1.Platform{amd64, arm64}, true, ""}, // no host asks for it
	} {
		s, o := newStore(t), options(u)
		o.Platforms = tc.platforms
		w := wanted(u.Ref("app@" + tc.pin.String()))
		w[0].Own = tc.own
		r, err := Gather(t.Context(), s, w, o)
		if tc.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s for %v: error is %v, want one that says %q", tc.pin, tc.platforms, err, tc.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s for %v: %v", tc.pin, tc.platforms, err)
			continue
		}
		if p := r.Images[0]; !tc.own && p.Digest != tc.pin {
			t.Errorf("pinned by %s, got %s", tc.pin, p.Digest)
		}
		if _, err := s.Walk(v1.Descriptor{Digest: r.Images[0].Digest}, r.Images[0].Platforms...); err != nil {
			t.Errorf("%s: %v", tc.pin, err)
		}
		for _, p := range tc.platforms {
			if _, err := s.OfPlatform(v1.Descriptor{Digest: r.Images[0].Digest}, p); err != nil {
				t.Errorf("%s: %v", tc.pin, err)
			}
		}
	}
}

func TestImageWithoutAnIndexIsHeldAgainstThePlatforms(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "amd", "v1", amd64, upstreamtest.Layer("only amd64", 1000))
	u.PushImage(t, "win", "v1", windows, upstreamtest.Layer("only windows", 1000))
	u.PushImage(t, "any", "v1", v1.Platform{}, upstreamtest.Layer("says nothing", 1000))
	u.PushImage(t, "arm", "v1", v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, upstreamtest.Layer("variant", 1000))
	for _, tc := range []struct {
		name      string
		platforms []v1.Platform
		refused   string
	}{
		{"amd", []v1.Platform{amd64}, ""},
		{"amd", []v1.Platform{arm64}, "no image for linux/arm64; it exists for linux/amd64"},
		{"amd", []v1.Platform{amd64, arm64}, "no image for linux/arm64"},
		{"win", []v1.Platform{amd64}, "it exists for windows/amd64 (choose another --platform"},
		{"any", []v1.Platform{amd64, arm64}, ""},
		{"arm", []v1.Platform{arm64}, ""},
	} {
		o := options(u)
		o.Platforms = tc.platforms
		w := wanted(u.Ref(tc.name + ":v1"))
		u.Counts()
		_, err := Gather(t.Context(), newStore(t), w, o)
		if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%s for %v: error is %v, want %q", tc.name, tc.platforms, err, tc.refused)
		}
		if got := u.Counts(); tc.refused != "" && got["GET blob"] != 1 {
			t.Errorf("%s for %v: asked for %v, want no layer", tc.name, tc.platforms, got)
		}
		w[0].Suspected = true
		r, err := Gather(t.Context(), newStore(t), w, o)
		if err != nil || (len(r.Absent) == 1) != (tc.refused != "") {
			t.Errorf("%s for %v, suspected: absent %v, error %v", tc.name, tc.platforms, r.Absent, err)
		}
	}
}

func TestLayersComeFromWhereTheManifestSaysIfTheRegistryLacksThem(t *testing.T) {
	u := upstreamtest.New(t)
	here, there := upstreamtest.Layer("in the registry", 1000), upstreamtest.Layer("elsewhere", 300_000)
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a login was sent")
		}
		switch n := asked.Add(1); {
		case r.URL.Path == "/gone":
			http.NotFound(w, r)
		case r.URL.Path == "/other":
			_, _ = w.Write(upstreamtest.Layer("something else", 300_000))
		case n%2 == 1:
			sendPart(w, there, 200_000)
		default:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(there)))
		}
	}))
	t.Cleanup(web.Close)
	foreign := func(data []byte, urls ...string) v1.Descriptor {
		return v1.Descriptor{
			MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Digest: digest.FromBytes(data), Size: int64(len(data)), URLs: urls,
		}
	}
	near := foreign(here, "https://never.invalid/x")
	u.PushBlob(t, "app", here)
	for name, tc := range map[string]struct {
		layer v1.Descriptor
		says  []string // of the error; none if it is taken
	}{
		"in the registry": {near, nil},
		"elsewhere":       {foreign(there, web.URL+"/gone", "https://me:secret@host/x", web.URL+"/layer"), nil},
		"nowhere":         {foreign(there, web.URL+"/gone?sig=secret"), []string{digest.FromBytes(there).String(), "/gone", "404", "push the image with all of its layers"}},
		"another":         {foreign(there, web.URL+"/other"), []string{digest.FromBytes(there).String(), "/other"}},
		"no address":      {foreign(there, "https://me:secret@host/x"), []string{"http or https"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			tag := strings.ReplaceAll(name, " ", "-")
			u.PushLayers(t, "app", tag, v1.Image{Platform: amd64}, tc.layer)
			s := newStore(t)
			_, err := Gather(t.Context(), s, wanted(u.Ref("app:"+tag)), options(u))
			if (err == nil) != (tc.says == nil) {
				t.Fatalf("error is %v, want one that says %q", err, tc.says)
			}
			for _, text := range tc.says {
				if !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "app:"+tag+" from manifests/app.yaml:1") {
					t.Errorf("error lacks %q: %v", text, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells what lets others in: %v", err)
			}
			if _, ok := s.Has(tc.layer.Digest); ok != (tc.says == nil) {
				t.Errorf("the layer is in the store: %t", ok)
			}
		})
	}
}

func TestForeignLayersInTheWritingOfDocker(t *testing.T) {
	u := upstreamtest.New(t)
	data := upstreamtest.Layer("docker's", 1000)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	t.Cleanup(web.Close)
	config := u.PushBlob(t, "app", []byte(`{"os":"linux","architecture":"amd64"}`))
	config.MediaType = "application/vnd.docker.container.image.v1+json"
	const mediaType = "application/vnd.docker.distribution.manifest.v2+json"
	u.PushManifest(t, "app", "v1", mediaType, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Config: config, Layers: []v1.Descriptor{{
			MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.FromBytes(data), Size: int64(len(data)), URLs: []string{web.URL},
		}},
	})
	s := newStore(t)
	gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
	if _, ok := s.Has(digest.FromBytes(data)); !ok {
		t.Error("the layer is not in the store")
	}
}

func TestSchema1IsRefusedByName(t *testing.T) {
	for _, mediaType := range []string{"application/vnd.docker.distribution.manifest.v1+prettyjws", "application/vnd.docker.distribution.manifest.v1+json", "text/plain"} {
		u := upstreamtest.New(t)
		u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", mediaType)
			if strings.Contains(mediaType, "v1+") {
				w.Header().Set("Docker-Content-Digest", digest.FromString("without the signatures").String())
			}
			_, _ = w.Write([]byte(`{"schemaVersion":1,"name":"app","tag":"v1","architecture":"amd64","fsLayers":[],"history":[],"signatures":[{}]}`))
			return true
		})
		_, err := Gather(t.Context(), newStore(t), wanted(u.Ref("app:v1")), options(u))
		for _, text := range []string{"app:v1 from manifests/app.yaml:1", "schema 1", "push the image again"} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error lacks %q: %v", mediaType, text, err)
			}
		}
	}
}
