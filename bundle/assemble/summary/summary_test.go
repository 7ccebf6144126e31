package summary

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/test/browsertest"
)

var update = flag.Bool("update", false, "write the pages of testdata anew")

// made is an image to make a bundle of: layers are the sizes of its layers, of which those alike are one blob.
type made struct {
	name, kind string
	layers     []int
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// makeBundle makes a bundle of images, and of documents by their names.
func makeBundle(t *testing.T, images []made, documents map[string]string) *bundle.Reader {
	t.Helper()
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	add := func(content []byte, mediaType string) v1.Descriptor {
		d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
		if !w.Has(d.Digest) {
			if err := w.AddBlob(t.Context(), d.Digest, d.Size, false, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	for _, i := range images {
		m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType}
		m.Config = add([]byte(`{"os":"linux","architecture":"amd64","name":"`+i.name+`"}`), v1.MediaTypeImageConfig)
		whole := m.Config.Size
		for _, size := range i.layers {
			noise := rand.NewChaCha8([32]byte{byte(size)})
			layer := make([]byte, size)
			noise.Read(layer)
			m.Layers = append(m.Layers, add(layer, v1.MediaTypeImageLayerGzip))
			whole += int64(size)
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		root := add(text, manifestType)
		of := bundle.Image{Name: i.name, Digest: root.Digest, MediaType: root.MediaType, ManifestSize: root.Size, Platforms: []string{"linux/amd64"}, Size: whole, Kind: bundle.KindImage}
		if i.kind != "" {
			of.Kind, of.ClusterType = bundle.KindCluster, i.kind
		}
		if err := w.AddImage(of); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range documents {
		if err := w.AddDocument(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := bundle.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The bundle of a shop, and the one before.
func shop(t *testing.T) (now, before *bundle.Reader) {
	t.Helper()
	rootfs := made{"localhost/kubernetes:v1.36.3", "rootfs", []int{900_000}}
	web := made{"registry.example.org/shop/web:2.4", "", []int{300_001, 120_003}}
	lock := write.Lock{Version: 1, Images: []write.LockedImage{
		{Name: rootfs.name, Bases: []write.LockedBase{{Name: "docker.io/library/debian:13"}}},
		{Name: web.name, Sources: []write.LockedPlace{
			{Image: "localhost/shop:2.4", File: "charts/web/templates/deployment.yaml", Line: 21, Certainty: "certain"},
			{Image: "localhost/shop:2.4", File: "manifests/job.yaml", Line: 9, Certainty: "suspected"},
		}},
	}}
	for n := range 11 {
		lock.Images[1].Sources = append(lock.Images[1].Sources, write.LockedPlace{Image: "localhost/shop:2.4", File: fmt.Sprintf("manifests/more-%02d.yaml", n), Line: 3})
	}
	text, err := json.Marshal(lock)
	if err != nil {
		t.Fatal(err)
	}
	bill, err := os.ReadFile("testdata/sbom.cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	now = makeBundle(t, []made{
		rootfs,
		{"localhost/shop:2.4", "application", []int{4_005}},
		web,
		{"registry.example.org/shop/db:18", "", []int{300_001, 500_007}},
		{"registry.k8s.io/pause:3.10.2", "", []int{700}},
		{"registry.example.org/a-team-with-a-long-name/and-a-repository/with-a-name-that-does-not-end@sha256:" + strings.Repeat("0f", 32), "", []int{90_011}},
	}, map[string]string{write.LockName: string(text), write.SBOMName: string(bill)})
	before = makeBundle(t, []made{
		rootfs, {"localhost/shop:2.3", "application", []int{4_003}}, {web.name, "", []int{300_001, 110_009}}, {"registry.k8s.io/pause:3.10.2", "", []int{700}},
	}, nil)
	return now, before
}

func TestThePageAboutABundle(t *testing.T) {
	now, before := shop(t)
	got, err := Page("site.run", now, []Base{{"before.run", before}})
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/shop.html"
	whole := got
	_, got, _ = bytes.Cut(got, []byte("<body>\n")) // how pages look is no matter of this one
	digest := []byte(now.IndexDigest().String())
	if !bytes.Contains(got, digest) {
		t.Errorf("it does not name the digest %s", digest)
	}
	got = bytes.ReplaceAll(got, digest, []byte("DIGEST")) // of all that is in the bundle, the form of the lock among it
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got; if it is meant, -update):\n%s", diff)
	}
	for _, says := range []string{
		"<h1>Bundle site.run</h1>", "makes a cluster",
		"localhost/shop:2.4: charts/web/templates/deployment.yaml:21", "manifests/job.yaml:9 (suspected)", "and 5 more", // what asks for it
		"293 KiB shared with other images", "built on docker.io/library/debian:13",
		"3 packages in the 1 of 6 images that were searched", ">deb</td>", ">GPL-2.0-only</td>",
		"<h2>Since before.run</h2>", ">added</b>", ">changed</b>", ">gone</b>",
	} {
		if !strings.Contains(string(got), says) {
			t.Errorf("the page does not say %q", says)
		}
	}
	t.Run("browser", func(t *testing.T) { browsertest.Fits(t, "bundle", whole) })
}

func TestThePageAboutABundleWithoutDocuments(t *testing.T) {
	_, before := shop(t)
	got, err := Page("before.run", before, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"were not searched for", "localhost/shop:2.3", "Signature</dt><dd>none"} {
		if !strings.Contains(string(got), says) {
			t.Errorf("the page does not say %q", says)
		}
	}
	if strings.Contains(string(got), "Since") {
		t.Error("it is compared with nothing")
	}
}

func TestADocumentThatIsNoneIsNamed(t *testing.T) {
	for _, name := range []string{write.LockName, write.SBOMName} {
		r := makeBundle(t, []made{{"localhost/a:1", "application", []int{10}}}, map[string]string{name: "{"})
		if _, err := Page("a.run", r, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
