package sbom

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// answerFile is what sealsbom's own tests say that it answers.
const answerFile = "testdata/sealsbom.json"

func answer(t testing.TB) *Found {
	t.Helper()
	raw, err := os.ReadFile(answerFile)
	if err != nil {
		t.Fatal(err)
	}
	found := &Found{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAllThatSealsbomSaysIsRead(t *testing.T) {
	found := answer(t)
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	raw, err := os.ReadFile(answerFile)
	if err := errors.Join(err, json.Unmarshal(raw, &want), json.Unmarshal(text, &got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-said +read):\n%s", diff)
	}
	if found.Format != format {
		t.Errorf("it is of format %d, want %d", found.Format, format)
	}
}

func TestBillsOfWhatSealsbomSaysConform(t *testing.T) {
	b := bill()
	b.Images[0].Parts[0].Found = answer(t)
	for _, b := range []Bill{b, b.OfImage(b.Images[0].Name)} {
		text, err := b.CycloneDX()
		if err != nil {
			t.Fatal(err)
		}
		conform(t, schema(t, cyclonedxSchema), text)
		if text, err = b.SPDX(); err != nil {
			t.Fatal(err)
		}
		conform(t, schema(t, spdxSchema), text)
	}
}

// layouts makes layouts of a store's images, as the builder does.
type layouts struct {
	*store.Store
	made []string
}

func (l *layouts) Layout(image v1.Descriptor) (string, func() error, error) {
	dir, err := l.TempDir("packages")
	if err != nil {
		return "", nil, err
	}
	l.made = append(l.made, dir)
	blobs, err := l.Walk(image)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return "", nil, err
	}
	for _, b := range blobs {
		if err := l.LinkBlob(b.Digest, filepath.Join(dir, "blobs", "sha256", b.Digest.Encoded())); err != nil {
			return "", nil, err
		}
	}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{image}})
	return dir, func() error { return os.RemoveAll(dir) }, errors.Join(err,
		os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// stored is a store with an image that holds the files.
func stored(t *testing.T, files map[string]string) (*layouts, v1.Descriptor) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	put := func(mediaType string, v any) v1.Descriptor {
		data, ok := v.([]byte)
		if !ok {
			if data, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		d, err := s.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	content := put(v1.MediaTypeImageLayer, layer.Bytes())
	config := put(v1.MediaTypeImageConfig, v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{content.Digest}},
		Config: v1.ImageConfig{Labels: map[string]string{
			v1.AnnotationVendor: "Somebody", v1.AnnotationBaseImageName: "docker.io/library/debian:12", v1.AnnotationTitle: "of the config",
		}},
	})
	return &layouts{Store: s}, put(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{content},
		Annotations: map[string]string{v1.AnnotationTitle: "of the manifest"},
	})
}

// standIn is a script that says what a sealsbom of that version would, and counts how often it was asked.
func standIn(t *testing.T, version, does string) (path string, searches func() int) {
	t.Helper()
	dir := t.TempDir()
	count := filepath.Join(dir, "searches")
	path = filepath.Join(dir, "sealsbom")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && { echo '%s'; exit; }\necho . >>%s\n%s\n", version, count, does)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, func() int {
		raw, _ := os.ReadFile(count)
		return strings.Count(string(raw), ".")
	}
}

func says(t *testing.T) string {
	t.Helper()
	abs, err := filepath.Abs(answerFile)
	if err != nil {
		t.Fatal(err)
	}
	return "cat " + abs
}

func TestUnchangedImageIsSearchedOnce(t *testing.T) {
	images, image := stored(t, nil)
	cache := filepath.Join(t.TempDir(), "cache")
	search := func(version, does string) (*Found, int) {
		path, searches := standIn(t, version, does)
		s, err := NewSearcher(t.Context(), path, cache, images)
		if err != nil {
			t.Fatal(err)
		}
		found, err := s.Search(t.Context(), image)
		if err != nil {
			t.Fatal(err)
		}
		return found, searches()
	}
	first, n := search("sealsbom 1, syft v1", says(t))
	if n != 1 {
		t.Fatalf("searched %d times", n)
	}
	again, n := search("sealsbom 1, syft v1", "exit 1")
	if diff := cmp.Diff(first, again); diff != "" || n != 0 {
		t.Errorf("searched %d times, answer (-first +again):\n%s", n, diff)
	}
	if _, n := search("sealsbom 1, syft v2", says(t)); n != 1 {
		t.Errorf("another version searched %d times", n)
	}
	files, err := os.ReadDir(cache)
	if err != nil || len(files) != 2 {
		t.Fatalf("cache holds %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(cache, f.Name()), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, n := search("sealsbom 1, syft v1", says(t)); n != 1 {
		t.Errorf("with a spoilt cache it searched %d times", n)
	}
}

func TestFailureOfASearchIsToldAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct{ does, want string }{
		"it fails":             {"touch \"$TMPDIR/left\"; echo 'the layer is no archive' >&2; exit 3", "exit status 3: the layer is no archive"},
		"it says nothing":      {"true", "unexpected end of JSON input"},
		"it says more":         {"head -c 70000000 /dev/zero", "says more than 67108864 bytes"},
		"it says it otherwise": {`echo '{"format": 2}'`, "in format 2, where 1 is wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			images, image := stored(t, nil)
			path, _ := standIn(t, "sealsbom 1, syft v1", c.does)
			cache := filepath.Join(t.TempDir(), "cache")
			s, err := NewSearcher(t.Context(), path, cache, images)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Search(t.Context(), image); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), image.Digest.String()) {
				t.Errorf("error is %v, want %q of %s", err, c.want, image.Digest)
			}
			for _, dir := range images.made {
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", dir, err)
				}
			}
			if files, _ := os.ReadDir(cache); len(files) > 0 {
				t.Errorf("the cache holds %v", files)
			}
		})
	}
}

func TestForeignProgramIsNotAsked(t *testing.T) {
	for _, version := range []string{"sealsbom 2, syft v1", "something else", ""} {
		path, searches := standIn(t, version, says(t))
		if _, err := NewSearcher(t.Context(), path, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "calls itself") || searches() > 0 {
			t.Errorf("%q: error %v", version, err)
		}
	}
}

func TestImageThatCannotBeSearchedIsToldAndTheOthersAreSearched(t *testing.T) {
	images, image := stored(t, nil)
	path, _ := standIn(t, "sealsbom 1, syft v1", says(t))
	s, err := NewSearcher(t.Context(), path, t.TempDir(), images)
	if err != nil {
		t.Fatal(err)
	}
	b := Bill{Images: []Image{
		{Name: "gone:1", Parts: []Part{{Digest: digest.FromString("gone")}}},
		{Name: "here:1", Parts: []Part{{Digest: image.Digest, MediaType: image.MediaType, Size: image.Size}}},
	}}
	var told []string
	if err := b.Search(t.Context(), s, func(name string, _ error) error { told = append(told, name); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gone:1"}, told); diff != "" || b.Images[0].Parts[0].Found != nil || b.Images[1].Parts[0].Found == nil {
		t.Errorf("images %+v, told (-want +got):\n%s", b.Images, diff)
	}
	stop := errors.New("stop")
	if err := b.Search(t.Context(), s, func(string, error) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error is %v, want the one of who was told", err)
	}
}

func TestMissingSealsbomIsNamedWithItsPlaces(t *testing.T) {
	_, err := Find()
	missing := new(MissingError)
	if !errors.As(err, &missing) || len(missing.Tried) != 2 || !strings.Contains(err.Error(), "make sealsbom builds it") {
		t.Errorf("error is %v", err)
	}
}

func TestLabelsAreThoseOfManifestAndConfig(t *testing.T) {
	images, image := stored(t, nil)
	parts := Parts(images, image, []string{"linux/amd64"})
	if diff := cmp.Diff([]Part{{Platform: "linux/amd64", Digest: image.Digest, MediaType: image.MediaType, Size: image.Size}}, parts); diff != "" {
		t.Fatalf("parts (-want +got):\n%s", diff)
	}
	labels := Labels(images, image.Digest)
	if labels[v1.AnnotationTitle] != "of the manifest" || labels[v1.AnnotationVendor] != "Somebody" {
		t.Errorf("labels are %v", labels)
	}
	if diff := cmp.Diff([]Base{{Name: "docker.io/library/debian:12"}}, LabelledBase(labels)); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
}

func TestPartsOfAnIndexAreThosePlatformsThatAreThere(t *testing.T) {
	images, image := stored(t, nil)
	put := func(children ...v1.Descriptor) v1.Descriptor {
		raw, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
		if err != nil {
			t.Fatal(err)
		}
		d, err := images.PutBytes(raw)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: d, Size: int64(len(raw))}
	}
	image.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	absent := v1.Descriptor{
		MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 6, Platform: &v1.Platform{OS: "linux", Architecture: "arm64"},
	}
	want := []Part{{Platform: "linux/amd64", Digest: image.Digest, MediaType: image.MediaType, Size: image.Size}}
	for name, index := range map[string]v1.Descriptor{"an index": put(absent, image), "one in another": put(absent, put(absent, image))} {
		if diff := cmp.Diff(want, Parts(images, index, []string{"linux/amd64", "linux/arm64"})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What make sealsbom has built searches an image of the store.
func TestSealsbomFindsThePackagesOfAStoredImage(t *testing.T) {
	path, err := filepath.Abs("../../../bin/sealsbom")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("make sealsbom builds it: ", err)
	}
	images, image := stored(t, map[string]string{
		"etc/os-release":                "ID=debian\nVERSION_ID=12\n",
		"var/lib/dpkg/status":           "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.10-3\n",
		"usr/share/doc/hello/copyright": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-3+\n",
	})
	s, err := NewSearcher(t.Context(), path, t.TempDir(), images)
	if err != nil {
		t.Fatal(err)
	}
	b := Bill{Name: "shop:1", Made: time.Unix(0, 0), Images: []Image{{
		Name: "docker.io/library/shop:1", Digest: image.Digest, Kind: "image", Platforms: []string{"linux/amd64"},
		Parts: Parts(images, image, []string{"linux/amd64"}),
	}}}
	if err := b.Search(t.Context(), s, func(_ string, err error) error { return err }); err != nil {
		t.Fatal(err)
	}
	bom, spdx := readCycloneDX(t, b), readSPDX(t, b)
	var urls []string
	for _, c := range *bom.Components {
		urls = append(urls, c.PackageURL)
	}
	if !slices.Contains(urls, "pkg:deb/debian/hello@2.10-3?arch=amd64&distro=debian-12") {
		t.Errorf("packages are %v", urls)
	}
	if i := slices.IndexFunc(spdx.Packages, func(p spdxPackage) bool { return p.Name == "hello" }); i < 0 || spdx.Packages[i].LicenseDeclared != "GPL-3.0-or-later" {
		t.Errorf("packages are %+v", spdx.Packages)
	}
}
