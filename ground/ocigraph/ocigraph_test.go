package ocigraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

// blobs is a Source in memory.
type blobs map[digest.Digest][]byte

func (b blobs) ReadBlob(d digest.Digest, limit int64) ([]byte, error) {
	raw, ok := b[d]
	switch {
	case !ok:
		return nil, fmt.Errorf("no blob %s", d)
	case int64(len(raw)) > limit:
		return nil, fmt.Errorf("blob %s is larger than %d", d, limit)
	}
	return raw, nil
}

func (b blobs) load(d v1.Descriptor) (Manifest, error) { return Read(b, d.Digest) }

// put adds a document, and describes it.
func (b blobs) put(t testing.TB, mediaType string, doc any) v1.Descriptor {
	t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	b[d.Digest] = raw
	return d
}

func leaf(name string) v1.Descriptor {
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromString(name), Size: int64(len(name))}
}

func (b blobs) image(t testing.TB, mediaType, config string, layers ...string) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{MediaType: mediaType, Config: leaf(config)}
	for _, l := range layers {
		m.Layers = append(m.Layers, leaf(l))
	}
	return b.put(t, mediaType, m)
}

func (b blobs) index(t testing.TB, mediaType string, children ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return b.put(t, mediaType, v1.Index{MediaType: mediaType, Manifests: children})
}

// nested makes an index around an image, and as many around that as are said.
func (b blobs) nested(t testing.TB, depth int) v1.Descriptor {
	t.Helper()
	d := b.image(t, v1.MediaTypeImageManifest, "config", "layer")
	for range depth {
		d = b.index(t, v1.MediaTypeImageIndex, d)
	}
	return d
}

// visits lists what a walk tells, by short names.
func visits(t *testing.T, names map[digest.Digest]string, root v1.Descriptor, v Visitor) []string {
	t.Helper()
	var told []string
	v.Leaf = func(n Node, d v1.Descriptor) error {
		told = append(told, names[n.Digest]+">"+names[d.Digest])
		return nil
	}
	v.Done = func(n Node) error {
		told = append(told, names[n.Digest])
		return nil
	}
	if err := Walk(root, v); err != nil {
		t.Fatal(err)
	}
	return told
}

func TestWalkVisitsEachBlobOnceAndParentsLast(t *testing.T) {
	for _, types := range [][2]string{{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest}, {dockerList, dockerManifest}} {
		t.Run(types[0], func(t *testing.T) {
			b := blobs{}
			one := b.image(t, types[1], "c1", "shared", "l1")
			two := b.image(t, types[1], "c2", "shared", "shared", "l2")
			root := b.index(t, types[0], one, two, one)
			names := map[digest.Digest]string{root.Digest: "index", one.Digest: "one", two.Digest: "two"}
			for _, l := range []string{"c1", "c2", "shared", "l1", "l2"} {
				names[leaf(l).Digest] = l
			}
			got := visits(t, names, root, Visitor{Load: b.load})
			want := []string{"one>c1", "one>shared", "one>l1", "one", "two>c2", "two>l2", "two", "index"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("visits (-want +got):\n%s", diff)
			}
			got = visits(t, names, root, Visitor{Load: b.load, Children: func(n Node) ([]v1.Descriptor, error) {
				return n.Manifest.Manifests[min(1, len(n.Manifest.Manifests)):min(2, len(n.Manifest.Manifests))], nil
			}})
			want = []string{"two>c2", "two>shared", "two>l2", "two", "index"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("visits of the chosen child (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWalkDoesNotGoToTheSubject(t *testing.T) {
	b := blobs{}
	image := b.image(t, v1.MediaTypeImageManifest, "c")
	signature := b.put(t, v1.MediaTypeImageManifest, v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: leaf("empty"), Subject: &image})
	got := visits(t, map[digest.Digest]string{image.Digest: "image", signature.Digest: "signature", leaf("empty").Digest: "empty"}, signature, Visitor{Load: b.load})
	if diff := cmp.Diff([]string{"signature>empty", "signature"}, got); diff != "" {
		t.Errorf("visits (-want +got):\n%s", diff)
	}
	m, err := Read(b, signature.Digest)
	if err != nil || m.Subject == nil || m.Subject.Digest != image.Digest {
		t.Errorf("subject %+v, %v", m.Subject, err)
	}
}

func TestErrorsEndAWalkAsTheyAre(t *testing.T) {
	b := blobs{}
	root := b.nested(t, 1)
	stop := errors.New("stop")
	for name, v := range map[string]Visitor{
		"load":     {Load: func(v1.Descriptor) (Manifest, error) { return Manifest{}, stop }},
		"children": {Load: b.load, Children: func(Node) ([]v1.Descriptor, error) { return nil, stop }},
		"leaf":     {Load: b.load, Leaf: func(Node, v1.Descriptor) error { return stop }},
		"done":     {Load: b.load, Done: func(Node) error { return stop }},
	} {
		if err := Walk(root, v); err != stop {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIndexesNestUpToTheLimit(t *testing.T) {
	b := blobs{}
	if err := Walk(b.nested(t, MaxNesting), Visitor{Load: b.load}); err != nil {
		t.Errorf("as deep as may be: %v", err)
	}
	image := b.nested(t, 0).Digest
	err := Walk(b.nested(t, MaxNesting+1), Visitor{Load: b.load})
	var beyond *LimitError
	if !errors.As(err, &beyond) {
		t.Fatalf("deeper: %v", err)
	}
	if diff := cmp.Diff(LimitError{Digest: image, Nesting: 8}, *beyond); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if want := fmt.Sprintf("manifest %s: indexes nested deeper than 8", image); err.Error() != want {
		t.Errorf("it says %q, want %q", err, want)
	}
}

func TestManifestIsReadUpToTheLimit(t *testing.T) {
	full := []byte(`{"schemaVersion":2}` + strings.Repeat(" ", MaxManifest-19))
	d := digest.FromString("any")
	m, err := Parse(d, full)
	if err != nil || m.Size != MaxManifest || m.SchemaVersion != 2 {
		t.Errorf("as large as may be: %d bytes, %v", m.Size, err)
	}
	_, err = Parse(d, append(full, ' '))
	var beyond *LimitError
	if !errors.As(err, &beyond) {
		t.Fatalf("larger: %v", err)
	}
	if diff := cmp.Diff(LimitError{Digest: d, Bytes: 4 << 20}, *beyond); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if want := fmt.Sprintf("manifest %s: more than 4194304 bytes", d); err.Error() != want {
		t.Errorf("it says %q, want %q", err, want)
	}
	if _, err := Read(blobs{d: append(full, ' ')}, d); err == nil {
		t.Error("a larger one was read")
	}
}

func TestWhatIsNoDocumentIsAnErrorThatNamesIt(t *testing.T) {
	d := digest.FromString("any")
	for _, raw := range []string{"", "[]", "{", `{"layers":{}}`, `{"config":"x"}`, "\x1f\x8b"} {
		if _, err := Parse(d, []byte(raw)); err == nil || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestFindGoesDownToTheImage(t *testing.T) {
	b := blobs{}
	other := b.image(t, v1.MediaTypeImageManifest, "other")
	wanted := b.nested(t, 2)
	root := b.index(t, v1.MediaTypeImageIndex, other, wanted)
	last := func(n Node) (v1.Descriptor, error) { return n.Manifest.Manifests[len(n.Manifest.Manifests)-1], nil }
	got, err := Find(root, b.load, last)
	if err != nil {
		t.Fatal(err)
	}
	if want := b.nested(t, 0); got.Digest != want.Digest || got.Depth != 3 || got.Manifest.Config.Digest != leaf("config").Digest {
		t.Errorf("found %+v, want %s", got, want.Digest)
	}
	if got, err := Find(other, b.load, last); err != nil || got.Digest != other.Digest {
		t.Errorf("of an image: %+v, %v", got, err)
	}
	stop := errors.New("stop")
	if _, err := Find(root, b.load, func(Node) (v1.Descriptor, error) { return v1.Descriptor{}, stop }); err != stop {
		t.Errorf("nothing to choose: %v", err)
	}
}

func TestMediaTypesAreToldApart(t *testing.T) {
	got := map[string][2]bool{}
	for _, m := range append(MediaTypes(), v1.MediaTypeImageConfig, "") {
		got[m] = [2]bool{IsManifest(m), IsIndex(m)}
	}
	want := map[string][2]bool{
		v1.MediaTypeImageManifest: {true, false}, dockerManifest: {true, false},
		v1.MediaTypeImageIndex: {true, true}, dockerList: {true, true},
		v1.MediaTypeImageConfig: {}, "": {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest, index (-want +got):\n%s", diff)
	}
}

func TestConfigIsReadUpToTheLimit(t *testing.T) {
	b := blobs{}
	d := b.put(t, v1.MediaTypeImageConfig, v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}})
	config, err := ReadConfig(b, d.Digest)
	if err != nil || config.Architecture != "arm64" {
		t.Errorf("config %+v, %v", config, err)
	}
	broken, large := digest.FromString("broken"), digest.FromString("large")
	b[broken], b[large] = []byte("{"), make([]byte, MaxManifest+1)
	for _, d := range []digest.Digest{broken, large} {
		if _, err := ReadConfig(b, d); err == nil || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestLayoutHoldsOneImage(t *testing.T) {
	image := leaf("image")
	image.Annotations = map[string]string{v1.AnnotationRefName: "name"}
	for name, c := range map[string]struct {
		images []v1.Descriptor
		err    string
	}{
		"one":  {images: []v1.Descriptor{image}},
		"none": {err: "0 images where one is expected"},
		"two":  {images: []v1.Descriptor{image, leaf("other")}, err: "2 images where one is expected"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw, err := json.Marshal(v1.Index{Manifests: c.images})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), raw, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LayoutImage(dir)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(leaf("image"), got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
