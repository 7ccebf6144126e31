package write

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// bundleOf writes images and what they reach, but for the digests left out.
func bundleOf(t *testing.T, s *store.Store, images []bundle.Image, without ...digest.Digest) *bundle.Reader {
	t.Helper()
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		blobs, err := s.Walk(v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms...)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blobs {
			left := false
			for _, d := range without {
				left = left || d == b.Digest
			}
			if left {
				continue
			}
			data, err := s.ReadBlob(b.Digest, ocigraph.MaxManifest)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.AddBlob(t.Context(), b.Digest, int64(len(data)), false, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.AddImage(i); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	r, err := bundle.Open(bytes.NewReader(file.Bytes()), sum.Size)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// named makes an image of the bundle out of a manifest or index.
func named(name string, d v1.Descriptor, platforms ...string) bundle.Image {
	return bundle.Image{Name: name, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: platforms, Kind: bundle.KindImage}
}

func TestEveryImageCanBePulledByTheNameANodeUses(t *testing.T) {
	st := storetest.New(t)
	one, two := storetest.AddImage(t, st, "one"), storetest.AddImage(t, st, "two")
	index := storetest.AddSparseIndex(t, st)
	r := bundleOf(t, st, []bundle.Image{
		named("registry.k8s.io/pause:3.10", one, "linux/amd64"),
		named("localhost:5000/pause:3.10", two, "linux/amd64"), // the same path and tag
		named("docker.io/library/nginx:1", one, "linux/amd64"),
		named("quay.io/team/app:v1@"+two.Digest.String(), two, "linux/amd64"),
		named("quay.io/team/app:v1", one, "linux/amd64"), // the tag moved since somebody pinned it
		named("quay.io/team/other@"+index.Digest.String(), index, "linux/amd64", "linux/arm64"),
		named("quay.io/team/half:v1", index, "linux/amd64"),
	})
	if err := Simulate(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestSimulationAsksWhatContainerdWillAsk(t *testing.T) {
	st := storetest.New(t)
	one, two := storetest.AddImage(t, st, "one"), storetest.AddImage(t, st, "two")
	index := func(children ...v1.Descriptor) v1.Descriptor {
		d, err := st.PutJSON(v1.MediaTypeImageIndex, v1.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children,
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	as := func(d v1.Descriptor, arch, variant string) v1.Descriptor {
		d.Platform = &v1.Platform{OS: "linux", Architecture: arch, Variant: variant}
		return d
	}
	// Of these two, a host of linux/arm64 takes the first, and the bundle holds the second.
	variants := index(as(one, "arm64", "v8"), as(two, "arm64", "v9"))
	cluster := named("site:v1", two, "linux/arm64")
	cluster.Kind = bundle.KindCluster
	for name, tc := range map[string]struct {
		images  []bundle.Image
		without []digest.Digest
		want    string
	}{
		"the digest in the name": {
			[]bundle.Image{named("quay.io/team/app:v1@"+one.Digest.String(), two, "linux/amd64")}, nil, "manifests/" + one.Digest.String(),
		},
		"what a host of the bundle's platform takes": {
			[]bundle.Image{cluster, named("quay.io/team/app:v1", variants, "linux/arm64/v9")}, []digest.Digest{one.Digest}, "a host of linux/arm64",
		},
		"one registry, however it is spelt": {
			[]bundle.Image{named("quay.io/team/app:v1", one, "linux/amd64"), named("QUAY.IO/team/app:v1", two, "linux/amd64")}, nil, "team/app:v1",
		},
		"Docker Hub, however it is spelt": {
			[]bundle.Image{named("docker.io/team/app:v1", one, "linux/amd64"), named("registry-1.docker.io/team/app:v1", two, "linux/amd64")}, nil, "team/app:v1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Simulate(t.Context(), bundleOf(t, st, tc.images, tc.without...))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one that says %q", err, tc.want)
			}
		})
	}
}

func TestSimulationNamesEveryReferenceThatFails(t *testing.T) {
	st := storetest.New(t)
	good, layer, config := storetest.AddImage(t, st, "good"), storetest.AddImage(t, st, "layer"), storetest.AddImage(t, st, "config")
	index := storetest.AddSparseIndex(t, st)
	without := func(d v1.Descriptor, pick func(ocigraph.Manifest) digest.Digest) digest.Digest {
		raw, err := st.ReadBlob(d.Digest, ocigraph.MaxManifest)
		if err != nil {
			t.Fatal(err)
		}
		var m ocigraph.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		return pick(m)
	}
	wrong := named("example.com/platform:v1", index, "linux/amd64")
	r := bundleOf(t, st, []bundle.Image{
		named("example.com/good:v1", good, "linux/amd64"),
		named("example.com/layer:v1", layer, "linux/amd64"),
		named("example.com/config:v1", config, "linux/amd64"),
		wrong,
	},
		without(layer, func(m ocigraph.Manifest) digest.Digest { return m.Layers[0].Digest }),
		without(config, func(m ocigraph.Manifest) digest.Digest { return m.Config.Digest }),
		without(index, func(m ocigraph.Manifest) digest.Digest { return m.Manifests[0].Digest }),
	)
	err := Simulate(t.Context(), r)
	var failed *SimulationError
	if !errors.As(err, &failed) {
		t.Fatalf("error is %v, want *SimulationError", err)
	}
	var refs []string
	for _, f := range failed.Failures {
		refs = append(refs, f.Ref)
	}
	if diff := cmp.Diff([]string{"example.com/layer:v1", "example.com/config:v1", "example.com/platform:v1"}, refs); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if !strings.Contains(err.Error(), "is missing") {
		t.Errorf("the error does not say what is missing:\n%v", err)
	}
}
