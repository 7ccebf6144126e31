package assemble

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// notes keeps what the operator would read.
type notes struct {
	silent
	text []string
}

func (n *notes) Note(text string) { n.text = append(n.text, text) }

func newBuilder(t *testing.T) (*Builder, *notes) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	n := &notes{}
	return &Builder{Store: s, Report: n}, n
}

// executable is an ELF header of a machine, followed by filler.
func executable(machine elf.Machine) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	_ = binary.Write(&b, binary.LittleEndian, h)
	b.WriteString(strings.Repeat("stub", 1000))
	return b.Bytes()
}

func writeFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// addImage stores an image with one layer.
func addImage(t *testing.T, s *store.Store, layer string) v1.Descriptor {
	t.Helper()
	return addImageFor(t, s, "amd64", layer)
}

func addImageFor(t *testing.T, s *store.Store, arch, layer string) v1.Descriptor {
	t.Helper()
	put := func(mediaType string, data []byte) v1.Descriptor {
		d, err := s.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = put(v1.MediaTypeImageConfig, []byte(`{"architecture":"`+arch+`","os":"linux","l":"`+layer+`"}`))
	m.Layers = []v1.Descriptor{put(v1.MediaTypeImageLayer, []byte(layer))}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return put(m.MediaType, raw)
}

func record(t *testing.T, s *store.Store, name, clusterType string, images ...store.Pinned) {
	t.Helper()
	if err := s.Save(store.Record{Name: name, Manifest: addImage(t, s, name), Platform: "linux/amd64", ClusterType: clusterType, Images: images}); err != nil {
		t.Fatal(err)
	}
}

func TestCopyOfAMissingRegistryIsDropped(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		files      []string
		edits      []build.Edit
		exclude    []string
	}{
		{"no directory", "FROM scratch\nCOPY registry registry\n", nil, []build.Edit{{First: 2, Last: 2}}, nil},
		{"continued", "FROM scratch\nCOPY \\\n ./registry/ \\\n /registry\n", nil, []build.Edit{{First: 2, Last: 4}}, nil},
		{"among others", "FROM scratch\nCOPY --chown=0:0 charts registry ./\n", nil, []build.Edit{{First: 2, Last: 2, Text: "COPY --chown=0:0 charts ./"}}, nil},
		{"array", "FROM scratch\nCOPY [\"a b\", \"registry\", \"/x/\"]\n", nil, []build.Edit{{First: 2, Last: 2, Text: `COPY ["a b","/x/"]`}}, nil},
		{"generated", "FROM scratch\nCOPY registry registry\n", []string{"registry/docker/registry/v2/x"}, []build.Edit{{First: 2, Last: 2}}, []string{"registry"}},
		{"generated, all copied", "FROM scratch\nCOPY . .\n", []string{"registry/docker/registry/v2/x"}, nil, []string{"registry"}},
		{"the user's own", "FROM scratch\nCOPY registry registry\n", []string{"registry/config.yml"}, nil, nil},
		{"a file", "FROM scratch\nCOPY registry registry\n", []string{"registry"}, nil, nil},
		{"of another stage", "FROM scratch AS a\nFROM scratch\nCOPY --from=a registry registry\n", nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string][]byte{"Kubefile": []byte(tc.text)}
			for _, f := range tc.files {
				files[f] = nil
			}
			c, err := openContext(writeFiles(t, files), "")
			if err != nil {
				t.Fatal(err)
			}
			edits, exclude := c.registryEdits()
			if diff := cmp.Diff(tc.edits, edits); diff != "" {
				t.Errorf("edits (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.exclude, exclude); diff != "" {
				t.Errorf("exclusions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStubMustFitThePlatform(t *testing.T) {
	dir := writeFiles(t, map[string][]byte{
		"amd64": executable(elf.EM_X86_64), "arm64": executable(elf.EM_AARCH64), "script": []byte("#!/bin/sh\n"),
	})
	if s, err := findStub(filepath.Join(dir, "amd64"), amd64); err != nil || len(s.data) == 0 {
		t.Errorf("right platform: %v", err)
	}
	for name, want := range map[string]string{"arm64": "not for amd64", "script": "not a Linux executable", "missing": "no such file", ".": "not a regular file"} {
		if _, err := findStub(filepath.Join(dir, name), amd64); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", name, err, want)
		}
	}
	var missing *StubError
	if _, err := findStub("", v1.Platform{OS: "linux", Architecture: "arm64"}); !errors.As(err, &missing) || len(missing.Tried) != 4 {
		t.Errorf("error is %v, want the four places that were looked at", err)
	}
}

func TestBundleAsStubGivesItsStub(t *testing.T) {
	stub := executable(elf.EM_X86_64)
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{Stub: bytes.NewReader(stub), StubPlatform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string][]byte{"sealinstall": file.Bytes()})
	got, err := findStub(filepath.Join(dir, "sealinstall"), amd64)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.data, stub) {
		t.Errorf("stub has %d bytes, want the %d before the payload", len(got.data), len(stub))
	}
}

func TestCareImageOfSeveralPlatformsIsAnIndex(t *testing.T) {
	b, _ := newBuilder(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	stubs := []installer{{data: executable(elf.EM_X86_64)}, {data: executable(elf.EM_AARCH64)}}
	pinned, err := b.careImage(stubs, []v1.Platform{amd64, arm})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, pinned.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	for _, p := range []v1.Platform{amd64, arm} {
		config, err := b.config(v1.Descriptor{Digest: pinned.Digest}, p)
		if err != nil || config.Architecture != p.Architecture {
			t.Errorf("config for %s is for %s: %v", p.Architecture, config.Architecture, err)
		}
	}
}

func TestCareImageHoldsTheInstallerAlone(t *testing.T) {
	b, _ := newBuilder(t)
	stub := installer{data: executable(elf.EM_X86_64)}
	pinned, err := b.careImage([]installer{stub}, []v1.Platform{amd64})
	if err != nil {
		t.Fatal(err)
	}
	if want := "sealbuild.io/care:" + digest.FromBytes(stub.data).Encoded()[:12]; pinned.Ref != want {
		t.Errorf("reference is %s, want %s", pinned.Ref, want)
	}
	again, _ := newBuilder(t)
	if p, err := again.careImage([]installer{stub}, []v1.Platform{amd64}); err != nil || p.Digest != pinned.Digest {
		t.Errorf("a second time it is %s (%v), want %s", p.Digest, err, pinned.Digest)
	}
	config, err := b.config(v1.Descriptor{Digest: pinned.Digest}, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/usr/bin/sealinstall", "care"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	raw, err := b.Store.ReadBlob(pinned.Digest, ocigraph.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	f, err := b.Store.OpenBlob(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(plain); got != config.RootFS.DiffIDs[0] {
		t.Errorf("layer is %s, the config says %s", got, config.RootFS.DiffIDs[0])
	}
	var names []string
	for entries := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{"usr/", "usr/bin/", "usr/bin/sealinstall"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestBundleOrderAndConflicts(t *testing.T) {
	b, n := newBuilder(t)
	pin := func(ref, layer string) store.Pinned {
		d := addImage(t, b.Store, layer)
		return store.Pinned{Found: store.Found{Ref: ref}, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: []string{"linux/amd64"}}
	}
	record(t, b.Store, "app:v1", "application", pin("z.io/z:1", "z"), pin("a.io/a:1", "a old"))
	record(t, b.Store, "other:v1", "application", pin("a.io/a:1", "a new"))
	record(t, b.Store, "k8s:v1", "rootfs", pin("m.io/m:1", "m"))
	stub := filepath.Join(writeFiles(t, map[string][]byte{"stub": executable(elf.EM_X86_64)}), "stub")
	out := filepath.Join(t.TempDir(), "site.run")
	w, err := b.Bundle(context.Background(), BundleRequest{Images: []string{"app:v1", "other:v1", "k8s:v1", "app:v1"}, Output: out, Stub: stub, Packages: sbom.Never})
	if err != nil {
		t.Fatal(err)
	}
	f, err := bundle.OpenFile(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for _, i := range f.Images() {
		names = append(names, strings.SplitN(i.Name, ":", 2)[0])
	}
	if diff := cmp.Diff([]string{"k8s", "app", "other", "a.io/a", "m.io/m", "sealbuild.io/care", "z.io/z"}, names); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if len(n.text) != 1 || !strings.Contains(n.text[0], "a.io/a:1 was resolved to") {
		t.Errorf("notes %q, want one on the reference with two digests", n.text)
	}
	if f.Images()[3].Digest != w.Images[3].Digest {
		t.Error("the report differs from the file")
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode is %v (%v), want an executable", fi.Mode(), err)
	}
}

func TestFailedBundleLeavesTheOldFile(t *testing.T) {
	b, _ := newBuilder(t)
	record(t, b.Store, "app:v1", "application", store.Pinned{Found: store.Found{Ref: "gone.io/x:1"}, Digest: digest.FromString("gone"), MediaType: v1.MediaTypeImageManifest})
	dir := writeFiles(t, map[string][]byte{"stub": executable(elf.EM_X86_64), "out": []byte("old")})
	_, err := b.Bundle(context.Background(), BundleRequest{Images: []string{"app:v1"}, Output: filepath.Join(dir, "out"), Stub: filepath.Join(dir, "stub")})
	if !errors.Is(err, store.ErrIncomplete) {
		t.Errorf("error is %v, want ErrIncomplete", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("directory holds %v (%v), want no new file", entries, err)
	}
	if old, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(old) != "old" {
		t.Errorf("old file is %q (%v)", old, err)
	}
}

func TestPlatformText(t *testing.T) {
	if p, err := ParsePlatform("linux/arm64"); err != nil || p.Architecture != "arm64" || p.Variant != "" {
		t.Errorf("linux/arm64 is %v (%v)", p, err)
	}
	for _, bad := range []string{"linux/amd64,linux/arm64", "windows/amd64", "amd64", "linux/", "a/b/c/d"} {
		if p, err := ParsePlatform(bad); err == nil {
			t.Errorf("%q was read as %v", bad, p)
		}
	}
}
