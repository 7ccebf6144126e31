package assemble

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// Building makes the test program run itself inside the container first.
func TestMain(m *testing.M) {
	if build.Reexec() {
		return
	}
	os.Exit(m.Run())
}

func here() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// connected is a builder that reaches one registry, and what it logs.
func connected(t *testing.T, u *upstreamtest.Upstream) (*Builder, *bytes.Buffer) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building needs root, or a user namespace that only the program makes")
	}
	b, _ := newBuilder(t)
	log := &bytes.Buffer{}
	b.Log = log
	if u != nil {
		b.System = u.System()
	}
	return b, log
}

func mustBuild(t *testing.T, b *Builder, r BuildRequest) store.Record {
	t.Helper()
	rec, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func refs(images []store.Pinned) []string {
	var all []string
	for _, p := range images {
		all = append(all, p.Ref)
	}
	return all
}

func TestUnchangedInputsAreNotBuiltAgain(t *testing.T) {
	b, log := connected(t, nil)
	dir := storetest.Files(t, map[string][]byte{"Kubefile": []byte("FROM scratch\nCOPY a /\n"), "a": []byte("1"), "b": []byte("1")})
	ran := func(r BuildRequest) (store.Record, bool) {
		t.Helper()
		log.Reset()
		r.Context = dir
		rec := mustBuild(t, b, r)
		return rec, strings.Contains(log.String(), "STEP")
	}
	first, cold := ran(BuildRequest{Name: "a:1"})
	if !cold {
		t.Fatal("the first build ran nothing")
	}
	if again, ran := ran(BuildRequest{Name: "other:1"}); ran || again.Manifest.Digest != first.Manifest.Digest {
		t.Errorf("under another name: ran %v, image %s, want %s", ran, again.Manifest.Digest, first.Manifest.Digest)
	}
	if again, ran := ran(BuildRequest{Name: "a:1", NoCache: true}); !ran || again.Manifest.Digest != first.Manifest.Digest {
		t.Errorf("without cache: ran %v, image %s, want %s", ran, again.Manifest.Digest, first.Manifest.Digest)
	}
	if _, ran := ran(BuildRequest{Name: "a:1", Labels: []string{"x=y"}}); !ran {
		t.Error("with another label nothing ran")
	}
	for _, change := range []struct {
		file string
		want bool
	}{{"b", false}, {"a", true}} {
		if err := os.WriteFile(filepath.Join(dir, change.file), []byte("2"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, ran := ran(BuildRequest{Name: "a:1"}); ran != change.want {
			t.Errorf("with another %s: ran %v, want %v", change.file, ran, change.want)
		}
	}
	// An image that lost a blob is built again.
	rec, _ := ran(BuildRequest{Name: "a:1"})
	blobs, err := b.Store.Walk(rec.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Store.OpenBlob(blobs[1].Digest) // the layer
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if b.Store, err = store.Open(b.Store.Root()); err != nil {
		t.Fatal(err)
	}
	defer b.Store.Close()
	if _, ran := ran(BuildRequest{Name: "a:1"}); !ran {
		t.Error("an image that lacks a blob was taken")
	}
}

func TestEveryPlatformGetsItsOwnImage(t *testing.T) {
	u := upstreamtest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	s390 := v1.Platform{OS: "linux", Architecture: "s390x"}
	var children []v1.Descriptor
	for _, p := range []v1.Platform{amd64, arm, s390} {
		children = append(children, u.PushImage(t, "app/x", "", p, upstreamtest.Layer(p.Architecture, 1000)))
	}
	u.PushIndex(t, "app/x", "v1", children...)
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{
		Name: "multi:1", Platforms: []v1.Platform{amd64, arm},
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile":           []byte("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY files/$TARGETARCH /\n"),
			"files/amd64/f":      []byte("amd64"),
			"files/arm64/f":      []byte("arm64"),
			"images/shim/images": []byte(u.Ref("app/x:v1") + "\n"),
		}),
	})
	if rec.Platform != "linux/amd64,linux/arm64" || rec.Manifest.MediaType != v1.MediaTypeImageIndex {
		t.Errorf("recorded %s as %s", rec.Platform, rec.Manifest.MediaType)
	}
	for _, p := range []v1.Platform{amd64, arm} {
		config, err := b.Store.Config(rec.Manifest, p)
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != p.Architecture || config.Config.Labels["arch"] != p.Architecture {
			t.Errorf("%s: config is for %s with labels %v", p.Architecture, config.Architecture, config.Config.Labels)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, rec.Images[0].Platforms); diff != "" {
		t.Errorf("platforms of the container image (-want +got):\n%s", diff)
	}
	if _, ok := b.Store.Has(children[2].Digest); ok {
		t.Error("a platform that nobody asked for was pulled")
	}
}

func TestBundleOfTwoPlatformsHoldsBothOfEverything(t *testing.T) {
	u := upstreamtest.New(t)
	platforms := []v1.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	want := map[digest.Digest]bool{}
	var children []v1.Descriptor
	for _, p := range platforms {
		d := u.PushImage(t, "app/x", "", p, upstreamtest.Layer(p.Architecture, 1000))
		children = append(children, d)
		want[d.Digest] = true
	}
	u.PushIndex(t, "app/x", "v1", children...)
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{
		Name: "multi:1", Platforms: platforms,
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile":           []byte("FROM scratch\nARG TARGETARCH\nLABEL sealos.io.type=rootfs version=v1.36.3\nCOPY files/$TARGETARCH /\n"),
			"files/amd64/f":      []byte("amd64"),
			"files/arm64/f":      []byte("arm64"),
			"images/shim/images": []byte(u.Ref("app/x:v1") + "\n"),
		}),
	})
	w := bundleForBoth(t, b, rec.Name)
	for _, p := range platforms {
		one, err := b.Store.OfPlatform(rec.Manifest, p)
		if err != nil {
			t.Fatal(err)
		}
		want[one.Digest] = true
	}
	for _, i := range w.Images {
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, i.Platforms); diff != "" {
			t.Errorf("platforms of %s (-want +got):\n%s", i.Name, diff)
		}
	}
	f, err := bundle.OpenFile(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, blob := range f.Blobs() {
		delete(want, blob.Digest)
	}
	if len(want) > 0 {
		t.Errorf("the bundle lacks %v", want)
	}
	if len(w.Images) != 3 || !strings.HasPrefix(w.Images[2].Name, write.CareRepository) {
		t.Errorf("images are %v", w.Images)
	}
}

// bundleForBoth writes the bundle of images for amd64 and arm64.
func bundleForBoth(t *testing.T, b *Builder, images ...string) Written {
	t.Helper()
	// The second installer lies where it is shipped: beside the program.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(filepath.Dir(self), "sealinstall-linux-arm64")
	if err := os.WriteFile(second, storetest.Executable(elf.EM_AARCH64), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(second)
	stub := filepath.Join(storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)}), "stub")
	w, err := b.Bundle(t.Context(), BundleRequest{Images: images, Output: filepath.Join(t.TempDir(), "out"), Stub: stub})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func machineHere() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}
