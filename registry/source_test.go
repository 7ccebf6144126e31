package registry_test

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/registrytest"
)

// stored puts an image of these layers into a new store.
func stored(t *testing.T, blobs registrytest.Blobs) (*registry.Store, func(digest.Digest)) {
	t.Helper()
	all := maps.Clone(blobs)
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig}}
	m.SchemaVersion = 2
	m.Config.Digest, m.Config.Size = all.Add([]byte("{}")), 2
	for d, content := range blobs {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: int64(len(content))})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := registry.BuildCatalog(t.Context(), []registry.Ref{{Name: "example.com/tool:v1", Digest: all.Add(text)}}, all)
	if err != nil {
		t.Fatal(err)
	}
	store := registry.OpenStore(t.TempDir())
	if _, err := store.Fill(t.Context(), c, all, registry.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	return store, func(d digest.Digest) {
		name := filepath.Join(store.Root(), "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreIsASource(t *testing.T) {
	registrytest.Source(t, func(t *testing.T, blobs registrytest.Blobs) registrytest.Kept {
		store, damage := stored(t, blobs)
		return registrytest.Kept{Source: store, Damage: damage}
	})
}

func TestAnotherRegistryIsASource(t *testing.T) {
	registrytest.Source(t, func(t *testing.T, blobs registrytest.Blobs) registrytest.Kept {
		store, damage := stored(t, blobs)
		h, err := registry.NewHandler(t.Context(), registry.HandlerOptions{Root: store.Root()})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return registrytest.Kept{Source: registry.NewRemote(t.Context(), store, s.URL, s.Client()), Damage: damage}
	})
}

// inMemory makes the suite's own sources, which pass it, too.
func inMemory(copyOf func(registrytest.Blobs) registry.Source) func(*testing.T, registrytest.Blobs) registrytest.Kept {
	return func(_ *testing.T, blobs registrytest.Blobs) registrytest.Kept {
		own := registrytest.Blobs{}
		for d, content := range blobs {
			own[d] = append([]byte{}, content...)
		}
		return registrytest.Kept{Source: copyOf(own), Damage: func(d digest.Digest) { own[d][0] ^= 1 }}
	}
}

func TestSourcesOfTestsAreSources(t *testing.T) {
	t.Run("of everybody's", func(t *testing.T) {
		registrytest.Source(t, inMemory(func(b registrytest.Blobs) registry.Source { return b }))
	})
	t.Run("of this package's", func(t *testing.T) {
		registrytest.Source(t, inMemory(func(b registrytest.Blobs) registry.Source { return registry.MapSource(b) }))
	})
}
