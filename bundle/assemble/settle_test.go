package assemble

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func imageNamed(t *testing.T, rec store.Record, ref string) store.Pinned {
	t.Helper()
	for _, p := range rec.Images {
		if p.Ref == ref {
			return p
		}
	}
	t.Fatalf("%s is not among %v", ref, refs(rec.Images))
	return store.Pinned{}
}

func TestEachPlatformKeepsItsRegistry(t *testing.T) {
	u := upstreamtest.New(t)
	files := map[string]string{"images/shim/DefaultImageList": "registry.k8s.io/pause:3.9\n"}
	a := sealosImageFor(t, u, amd64, "labring/kubernetes", "v1-amd64", files, map[string]string{"pause:3.9": "pause amd64", "only/amd:1": "amd"})
	c := sealosImageFor(t, u, arm64, "labring/kubernetes", "v1-arm64", files, map[string]string{"pause:3.9": "pause arm64", "only/arm:1": "arm"})
	u.PushIndex(t, "labring/kubernetes", "v1", a, c)
	b, _ := newBuilder(t)
	b.System = u.System()
	both := []v1.Platform{amd64, arm64}
	rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1"), Platforms: both})
	if err != nil {
		t.Fatal(err)
	}
	pause := imageNamed(t, rec, "registry.k8s.io/pause:3.9")
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, pause.Platforms); diff != "" {
		t.Errorf("platforms of %s (-want +got):\n%s", pause.Ref, diff)
	}
	for _, p := range both {
		if got, want := storetest.FirstLayer(t, b.Store, pause, p), "pause "+p.Architecture; got != want {
			t.Errorf("a host of %s gets %q, want %q", p.Architecture, got, want)
		}
	}
	if diff := cmp.Diff([]string{"docker.io/only/amd:1", "docker.io/only/arm:1", "registry.k8s.io/pause:3.9"}, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	w := bundleForBoth(t, b, rec.Name) // and the simulation pulls all of it
	f, err := bundle.OpenFile(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	images, err := catalog.Build(t.Context(), []catalog.Ref{{Name: pause.Ref, Digest: pause.Digest}}, write.Served(f.Reader))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(images.Repositories[0].Manifests); n != 3 {
		t.Errorf("the bundle's registry holds %d manifests for %s, want the index and two images", n, pause.Ref)
	}
	// One of them alone is as it was.
	one, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1"), Platforms: both[:1]})
	if err != nil {
		t.Fatal(err)
	}
	if p := imageNamed(t, one, pause.Ref); storetest.FirstLayer(t, b.Store, p, amd64) != "pause amd64" || p.MediaType != v1.MediaTypeImageManifest {
		t.Errorf("of one platform %s is %s, %s", p.Ref, p.MediaType, p.Digest)
	}
}

func TestBaseOfEachPlatformHasItsOwnName(t *testing.T) {
	u := upstreamtest.New(t)
	for _, p := range []v1.Platform{amd64, arm64} {
		sealosImageFor(t, u, p, "labring/kubernetes", "v1-"+p.Architecture, nil, map[string]string{"pause:3.9": "pause " + p.Architecture})
	}
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{
		Name: "mine:1", Platforms: []v1.Platform{amd64, arm64},
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("ARG TARGETARCH\nFROM " + u.Ref("labring/kubernetes:v1-") + "${TARGETARCH}\nCOPY f /\n"), "f": []byte("f"),
		}),
	})
	pause := imageNamed(t, rec, "docker.io/library/pause:3.9")
	for _, p := range []v1.Platform{amd64, arm64} {
		if got, want := storetest.FirstLayer(t, b.Store, pause, p), "pause "+p.Architecture; got != want {
			t.Errorf("a host of %s gets %q, want %q", p.Architecture, got, want)
		}
	}
}

// dockerArchive is an image as docker save writes it.
func dockerArchive(t *testing.T, ref, arch, layer string) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name, text string) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
	}
	add("layer.tar", layer)
	add("config.json", fmt.Sprintf(`{"os":"linux","architecture":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, arch, digest.FromString(layer)))
	add("manifest.json", fmt.Sprintf(`[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, ref))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func TestArchivesOfPlatformsShareAName(t *testing.T) {
	const ref = "example.com/team/app:v1"
	list := "docker-archive:one.tar@" + ref + "\ndocker-archive:other.tar@" + ref + "\n"
	layer := func(text string) string { return string(layerTar(t, text)) }
	build := func(t *testing.T, second string) (store.Record, *Builder, error) {
		b, _ := connected(t, nil)
		rec, err := b.Build(t.Context(), BuildRequest{
			Name: "mine:1", Platforms: []v1.Platform{amd64, arm64},
			Context: storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": []byte("f"), "images/skopeo/tar.txt": []byte(list),
				"images/skopeo/one.tar":   dockerArchive(t, ref, "amd64", layer("amd64")),
				"images/skopeo/other.tar": dockerArchive(t, ref, second, layer(second+" other")),
			}),
		})
		return rec, b, err
	}
	rec, b, err := build(t, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	app := imageNamed(t, rec, ref)
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, app.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if got := storetest.FirstLayer(t, b.Store, app, arm64); got != layer("arm64 other") {
		t.Error("a host of arm64 gets another image")
	}
	_, _, err = build(t, "amd64")
	conflict := new(resolve.ConflictError)
	if !errors.As(err, &conflict) || conflict.Ref != ref || conflict.Platform != "linux/amd64" || !strings.Contains(err.Error(), "tar.txt:2") {
		t.Errorf("one platform, two images: error is %v", err)
	}
}

func layerTar(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
