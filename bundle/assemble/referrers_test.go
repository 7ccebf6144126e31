package assemble

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// besideThisTest puts a sealsbom beside the running program that says what the tests of the real one say that it does.
func besideThisTest(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := filepath.Abs("sbom/testdata/sealsbom.json")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(self), "sealsbom")
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'sealsbom 1, syft v1'; else cat %s; fi\n", answer)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}

// written is a bundle, for one platform, of an application that needs an image of that and an index of two.
func written(t *testing.T, b *Builder) *bundle.File {
	t.Helper()
	pin := func(ref string, d v1.Descriptor, platforms ...string) store.Pinned {
		return store.Pinned{Found: store.Found{Ref: ref}, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: platforms}
	}
	one := storetest.AddImage(t, b.Store, "one")
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, arch := range []string{"amd64", "arm64"} {
		d := storetest.AddImageFor(t, b.Store, arch, "two")
		d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	two, err := b.Store.PutJSON(v1.MediaTypeImageIndex, index)
	if err != nil {
		t.Fatal(err)
	}
	record(t, b.Store, "app:v1", "application", pin("a.io/one:1", one, "linux/amd64"), pin("a.io/two:1", two, "linux/amd64", "linux/arm64"))
	stub := filepath.Join(storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)}), "stub")
	out := filepath.Join(t.TempDir(), "site.run")
	if _, err := b.Bundle(t.Context(), BundleRequest{Images: []string{"app:v1"}, Output: out, Stub: stub, Packages: sbom.Always}); err != nil {
		t.Fatal(err)
	}
	f, err := bundle.OpenFile(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// ask gets a document from the registry of a bundle.
func ask(t *testing.T, h http.Handler, path string, into any) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return w.Body.Bytes()
}

func TestRegistryOfABundleServesBillsAsReferrersOfItsImages(t *testing.T) {
	b, _ := newBuilder(t)
	besideThisTest(t)
	f := written(t, b)
	src := write.Served(f.Reader)
	var refs []catalog.Ref
	var subjects []string
	for _, i := range f.Images() {
		if i.Kind == bundle.KindCluster {
			if len(i.Referrers) > 0 {
				t.Errorf("cluster image %s has referrers, and no registry serves it", i.Name)
			}
			continue
		}
		refs = append(refs, write.RegistryRefs(i)...)
		name := strings.TrimSuffix(i.Name, ":1")
		subjects = append(subjects, name+"/referrers/"+i.Digest.String())
		for _, p := range sbom.Parts(b.Store, v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms) {
			if p.Digest != i.Digest {
				subjects = append(subjects, name+"/referrers/"+p.Digest.String())
			}
		}
	}
	if len(subjects) != 3 { // the image of one platform, the index, and of that the platform that the bundle is for
		t.Fatalf("subjects are %v", subjects)
	}
	images, err := catalog.Build(t.Context(), refs, src)
	if err != nil {
		t.Fatal(err)
	}
	h, err := registry.NewHandler(t.Context(), registry.HandlerOptions{Catalog: &images, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range subjects {
		var found v1.Index
		ask(t, h, "/v2/"+subject, &found)
		types := map[string]int{}
		for _, d := range found.Manifests {
			types[d.ArtifactType]++
			var m v1.Manifest
			raw := ask(t, h, "/v2/"+filepath.Dir(filepath.Dir(subject))+"/manifests/"+d.Digest.String(), &m)
			if digest.FromBytes(raw) != d.Digest || m.Subject.Digest.String() != filepath.Base(subject) {
				t.Errorf("%s: manifest %s is %s", subject, d.Digest, raw)
			}
			var bill map[string]any
			ask(t, h, "/v2/"+filepath.Dir(filepath.Dir(subject))+"/blobs/"+m.Layers[0].Digest.String(), &bill)
			if bill["bomFormat"] != "CycloneDX" && bill["spdxVersion"] != "SPDX-2.3" {
				t.Errorf("%s: the bill is %v", subject, bill)
			}
		}
		if diff := cmp.Diff(map[string]int{sbom.CycloneDXType: 1, sbom.SPDXType: 1}, types); diff != "" {
			t.Errorf("%s, types (-want +got):\n%s", subject, diff)
		}
	}
}

func TestReferrersOfUnchangedImagesAreTheSame(t *testing.T) {
	besideThisTest(t)
	first, _ := newBuilder(t)
	second, _ := newBuilder(t)
	if a, b := written(t, first).IndexDigest(), written(t, second).IndexDigest(); a != b {
		t.Errorf("indexes are %s and %s", a, b)
	}
}

func TestSiteThatHasTheBillsIsNotSentThemAgain(t *testing.T) {
	besideThisTest(t)
	b, _ := newBuilder(t)
	have, err := write.BaseInventory(t.Context(), written(t, b).Reader)
	if err != nil {
		t.Fatal(err)
	}
	stub := filepath.Join(storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)}), "stub")
	out := filepath.Join(t.TempDir(), "update.run")
	w, err := b.Bundle(t.Context(), BundleRequest{Images: []string{"app:v1"}, Output: out, Stub: stub, Packages: sbom.Always, Have: have})
	if err != nil {
		t.Fatal(err)
	}
	// Configs and layers of two images, six bills, and the empty config that those share.
	if w.Left != 11 {
		t.Errorf("%d blobs are left out", w.Left)
	}
}
