package bundle

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// withReferrers is an image with two referrers that share their config, and its blobs.
func withReferrers() (Image, []testBlob) {
	layer, empty, one, other := testBlob{noise(1, 700), false}, testBlob{[]byte("{}"), true}, testBlob{prose(2, 900), true}, testBlob{prose(3, 900), true}
	config := configBlob("amd64", layer.digest())
	manifest, image := manifestBlob("registry.example/tool:v1", config, layer)
	blobs := []testBlob{layer, config, manifest, empty, one, other}
	for _, content := range []testBlob{one, other} {
		m, referrer := manifestBlob("", empty, content)
		blobs = append(blobs, m)
		image.Referrers = append(image.Referrers, v1.Descriptor{
			MediaType: referrer.MediaType, Digest: referrer.Digest, Size: referrer.ManifestSize, ArtifactType: "application/spdx+json",
		})
	}
	return image, blobs
}

func TestReferrersOfAnImageComeBackWithTheirBlobs(t *testing.T) {
	image, blobs := withReferrers()
	file, _ := makeBundle(t, WriterOptions{}, blobs, []Image{image})
	r := openBytes(t, file)
	if diff := cmp.Diff([]Image{image}, r.Images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	reached, err := r.Reach(r.Images()[0])
	if err != nil {
		t.Fatal(err)
	}
	times := map[digest.Digest]int{}
	for _, b := range reached {
		times[b.Digest]++
	}
	want := map[digest.Digest]int{}
	for _, b := range blobs {
		want[b.digest()] = 1
	}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Errorf("blobs, how often (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	if err := r.ExtractLayout(t.Context(), dir, r.Images(), nil); err != nil {
		t.Errorf("extract: %v", err)
	}
}

func TestReferrerThatIsNotInTheBundleIsRefused(t *testing.T) {
	for name, change := range map[string]func(*v1.Descriptor){
		"another digest": func(d *v1.Descriptor) { d.Digest = digest.FromString("elsewhere") },
		"another size":   func(d *v1.Descriptor) { d.Size++ },
		"no digest":      func(d *v1.Descriptor) { d.Digest = "" },
	} {
		image, blobs := withReferrers()
		change(&image.Referrers[1])
		w, err := NewWriter(&bytes.Buffer{}, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blobs {
			if err := w.AddBlob(t.Context(), b.digest(), int64(len(b.data)), b.compress, bytes.NewReader(b.data)); err != nil {
				t.Fatal(err)
			}
		}
		err = w.AddImage(image)
		if err == nil {
			_, err = w.Close()
		}
		if err == nil || name != "no digest" && !errors.Is(err, ErrNoBlob) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
