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
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
	"github.com/sealbuild/sealbuild/test/registrytest"
	"github.com/sealbuild/sealbuild/test/sourcetest"
)

// stored puts an image of these layers into a new store.
func stored(t *testing.T, blobs sourcetest.Blobs) (*disk.Store, func(digest.Digest)) {
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
	c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "example.com/tool:v1", Digest: all.Add(text)}}, all)
	if err != nil {
		t.Fatal(err)
	}
	store := disk.Open(t.TempDir())
	if _, err := storesync.Fill(t.Context(), store, c, all, storesync.PushOptions{}); err != nil {
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
	sourcetest.Source(t, func(t *testing.T, blobs sourcetest.Blobs) sourcetest.Kept {
		store, damage := stored(t, blobs)
		return sourcetest.Kept{Source: store, Damage: damage}
	})
}

func TestAnotherRegistryIsASource(t *testing.T) {
	sourcetest.Source(t, func(t *testing.T, blobs sourcetest.Blobs) sourcetest.Kept {
		store, damage := stored(t, blobs)
		h, err := registry.NewHandler(t.Context(), registry.HandlerOptions{Root: store.Root()})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return sourcetest.Kept{Source: registry.NewRemote(t.Context(), store, s.URL, s.Client()), Damage: damage}
	})
}

// inMemory makes the suite's own sources, which pass it, too.
func inMemory(copyOf func(sourcetest.Blobs) catalog.Source) func(*testing.T, sourcetest.Blobs) sourcetest.Kept {
	return func(_ *testing.T, blobs sourcetest.Blobs) sourcetest.Kept {
		own := sourcetest.Blobs{}
		for d, content := range blobs {
			own[d] = append([]byte{}, content...)
		}
		return sourcetest.Kept{Source: copyOf(own), Damage: func(d digest.Digest) { own[d][0] ^= 1 }}
	}
}

func TestSourcesOfTestsAreSources(t *testing.T) {
	t.Run("of everybody's", func(t *testing.T) {
		sourcetest.Source(t, inMemory(func(b sourcetest.Blobs) catalog.Source { return b }))
	})
	t.Run("of this package's", func(t *testing.T) {
		sourcetest.Source(t, inMemory(func(b sourcetest.Blobs) catalog.Source { return registrytest.Source(b) }))
	})
}
