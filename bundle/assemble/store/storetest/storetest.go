// Package storetest makes images in a store for tests.
package storetest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// New opens a store that the test's end removes.
func New(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// AddImage stores an image for linux/amd64 with one layer of that content.
func AddImage(t testing.TB, s *store.Store, layer string) v1.Descriptor {
	t.Helper()
	return AddImageFor(t, s, "amd64", layer)
}

// AddImageFor is AddImage for another architecture.
func AddImageFor(t testing.TB, s *store.Store, arch, layer string) v1.Descriptor {
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

// AddSparseIndex stores an index of three platforms, of which the last is not there.
func AddSparseIndex(t testing.TB, s *store.Store) v1.Descriptor {
	t.Helper()
	index := v1.Index{MediaType: v1.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString(arch), Size: 500}
		if arch != "s390x" {
			d = AddImage(t, s, arch)
		}
		d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.PutBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: d, Size: int64(len(raw))}
}

// FirstLayer is the first layer of the image that a host of a platform gets.
func FirstLayer(t testing.TB, st *store.Store, p store.Pinned, platform v1.Platform) string {
	t.Helper()
	one, err := st.OfPlatform(v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType}, platform)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := st.ReadBlob(one.Digest, ocigraph.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	var m ocigraph.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	layer, err := st.ReadBlob(m.Layers[0].Digest, ocigraph.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	return string(layer)
}

// Sparse is a layer of a few hundred bytes whose one file has so many: all of them a hole.
func Sparse(t testing.TB, name string, size int64) []byte {
	t.Helper()
	record := func(key, value string) string {
		n := len(key) + len(value) + 3
		for n < len(fmt.Sprint(n))+len(key)+len(value)+3 {
			n++
		}
		return fmt.Sprintf("%d %s=%s\n", n, key, value)
	}
	extended := tarOf(t, "pax", record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+
		record("GNU.sparse.name", name)+record("GNU.sparse.realsize", fmt.Sprint(size)))[:1024]
	// The header becomes one of extended records, which archive/tar does not write, with another sum of its bytes.
	extended[156] = tar.TypeXHeader
	copy(extended[148:156], "        ")
	sum := 0
	for _, b := range extended[:512] {
		sum += int(b)
	}
	copy(extended[148:156], fmt.Sprintf("%06o\x00 ", sum))
	hole := fmt.Sprintf("1\n%d\n0\n", size)
	return append(extended, tarOf(t, "hole", hole+strings.Repeat("\x00", 512-len(hole)))...)
}

func tarOf(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Layer is a layer of files, packed by gzip, whose names begin with ./ as those of tar.
func Layer(t testing.TB, files map[string][]byte) []byte {
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

// Files writes files into a new directory.
func Files(t testing.TB, files map[string][]byte) string {
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

// Executable is an ELF header of a machine, followed by filler.
func Executable(machine elf.Machine) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	_ = binary.Write(&b, binary.LittleEndian, h)
	b.WriteString(strings.Repeat("stub", 1000))
	return b.Bytes()
}
