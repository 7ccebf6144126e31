package assemble

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/upstreamtest"
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
	dir := writeFiles(t, map[string][]byte{"Kubefile": []byte("FROM scratch\nCOPY a /\n"), "a": []byte("1"), "b": []byte("1")})
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
		Context: writeFiles(t, map[string][]byte{
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
		config, err := b.config(rec.Manifest, p)
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

// sealosImage is a cluster image as sealos makes them: one layer, with a
// registry directory whose repositories have no domain.
func sealosImage(t *testing.T, u *upstreamtest.Upstream, repo string, files map[string]string, inside map[string]string) v1.Descriptor {
	t.Helper()
	tree := map[string][]byte{}
	for name, text := range files {
		tree[name] = []byte(text)
	}
	blob := func(data []byte) v1.Descriptor {
		d := digest.FromBytes(data)
		tree[registryTree+"blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data"] = data
		return v1.Descriptor{Digest: d, Size: int64(len(data))}
	}
	for name, layer := range inside {
		m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
		m.Config = blob([]byte(`{"os":"linux","architecture":"` + runtime.GOARCH + `","rootfs":{"type":"layers"}}`))
		m.Config.MediaType = v1.MediaTypeImageConfig
		l := blob([]byte(layer))
		l.MediaType = v1.MediaTypeImageLayerGzip
		m.Layers = []v1.Descriptor{l}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := blob(raw)
		repository, tag, _ := strings.Cut(name, ":")
		dir := registryTree + "repositories/" + repository + "/_manifests/"
		tree[dir+"tags/"+tag+"/current/link"] = []byte(d.Digest)
		tree[dir+"revisions/sha256/"+d.Digest.Encoded()+"/link"] = []byte(d.Digest)
	}
	return u.PushImage(t, repo, "v1", here(), layerOf(t, tree))
}

func layerOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBaseFromARegistryBringsItsImages(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "outside/listed", "v1", here(), upstreamtest.Layer("listed", 1000))
	sealosImage(t, u, "labring/kubernetes", map[string]string{
		"images/shim/DefaultImageList": "registry.k8s.io/pause:3.9\nquay.io/team/pause:3.9\n" + u.Ref("outside/listed:v1") + "\n",
		"scripts/init.sh":              "#!/bin/bash\n",
		"bin/kubeadm":                  "x",
	}, map[string]string{"pause:3.9": "pause", "team/pause:3.9": "other", "labring/lvscare:v5": "care"})
	b, log := connected(t, u)
	request := BuildRequest{Name: "mine:1", Context: writeFiles(t, map[string][]byte{
		"Kubefile": []byte("FROM " + u.Ref("labring/kubernetes:v1") + "\nCOPY mine /\n"), "mine": []byte("m"),
	})}
	rec := mustBuild(t, b, request)
	want := []string{u.Ref("outside/listed:v1"), "docker.io/labring/lvscare:v5", "quay.io/team/pause:3.9", "registry.k8s.io/pause:3.9"}
	slices.Sort(want)
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	u.Counts()
	log.Reset()
	again := mustBuild(t, b, request)
	counts := u.Counts()
	if again.Manifest.Digest != rec.Manifest.Digest || counts["GET blob"] != 0 || strings.Contains(log.String(), "STEP") {
		t.Errorf("a second build made %s (want %s), asked for %v and ran %q", again.Manifest.Digest, rec.Manifest.Digest, counts, log)
	}
	if diff := cmp.Diff(rec.Images, again.Images); diff != "" {
		t.Errorf("images of the second build (-first +second):\n%s", diff)
	}
}

func machineHere() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
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
		Context: writeFiles(t, map[string][]byte{
			"Kubefile":           []byte("FROM scratch\nARG TARGETARCH\nLABEL sealos.io.type=rootfs version=v1.36.3\nCOPY files/$TARGETARCH /\n"),
			"files/amd64/f":      []byte("amd64"),
			"files/arm64/f":      []byte("arm64"),
			"images/shim/images": []byte(u.Ref("app/x:v1") + "\n"),
		}),
	})
	// The second installer lies where it is shipped: beside the program.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(filepath.Dir(self), "sealinstall-linux-arm64")
	if err := os.WriteFile(second, executable(elf.EM_AARCH64), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(second)
	stub := filepath.Join(writeFiles(t, map[string][]byte{"stub": executable(elf.EM_X86_64)}), "stub")
	out := filepath.Join(t.TempDir(), "out")
	w, err := b.Bundle(t.Context(), BundleRequest{Images: []string{rec.Name}, Output: out, Stub: stub})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		one, err := b.ofPlatform(rec.Manifest, p)
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
	f, err := bundle.OpenFile(out)
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
	if len(w.Images) != 3 || !strings.HasPrefix(w.Images[2].Name, careRepository) {
		t.Errorf("images are %v", w.Images)
	}
}

func TestBasesByDigestAndBesideTheStages(t *testing.T) {
	u := upstreamtest.New(t)
	child := u.PushImage(t, "tools", "", here(), layerOf(t, map[string][]byte{"tool": []byte("t")}))
	other := u.PushImage(t, "tools", "", v1.Platform{OS: "linux", Architecture: "s390x"}, layerOf(t, map[string][]byte{"tool": []byte("s")}))
	index := u.PushIndex(t, "tools", "v1", child, other)
	for name, kubefile := range map[string]string{
		"index":              "FROM " + u.Ref("tools@"+index.String()) + "\nCOPY f /\n",
		"image":              "FROM " + u.Ref("tools@"+child.Digest.String()) + "\nCOPY f /\n",
		"tag and digest":     "FROM " + u.Ref("tools:v1@"+index.String()) + "\nCOPY f /\n",
		"copied from":        "FROM scratch\nCOPY --from=" + u.Ref("tools:v1") + " /tool /\nCOPY f /\n",
		"named and copied":   "FROM " + u.Ref("tools:v1") + " AS tools\nFROM scratch\nCOPY --from=tools /tool /\nCOPY f /\n",
		"through an ARG":     "ARG BASE=" + u.Ref("tools:v1") + "\nFROM ${BASE}\nCOPY f /\n",
		"named twice":        "FROM " + u.Ref("tools:v1") + " AS one\nFROM " + u.Ref("tools:v1") + "\nCOPY --from=one /tool /again\nCOPY f /\n",
		"in lower case from": "from " + u.Ref("tools:v1") + "\ncopy f /\n",
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, u)
			rec := mustBuild(t, b, BuildRequest{Name: "x:1", Context: writeFiles(t, map[string][]byte{"Kubefile": []byte(kubefile), "f": []byte("f")})})
			dir := t.TempDir()
			if _, err := b.extract(t.Context(), rec.Manifest, dir); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"tool", "f"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					t.Error(err)
				}
			}
			if _, ok := b.Store.Has(other.Digest); ok {
				t.Error("the image of another platform was pulled")
			}
		})
	}
}
