package write

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

func TestStubMustFitThePlatform(t *testing.T) {
	dir := storetest.Files(t, map[string][]byte{
		"amd64": storetest.Executable(elf.EM_X86_64), "arm64": storetest.Executable(elf.EM_AARCH64), "script": []byte("#!/bin/sh\n"),
	})
	if s, err := FindStub(filepath.Join(dir, "amd64"), amd64); err != nil || len(s.data) == 0 {
		t.Errorf("right platform: %v", err)
	}
	for name, want := range map[string]string{"arm64": "not for amd64", "script": "not a Linux executable", "missing": "no such file", ".": "not a regular file"} {
		if _, err := FindStub(filepath.Join(dir, name), amd64); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", name, err, want)
		}
	}
	var missing *StubError
	if _, err := FindStub("", v1.Platform{OS: "linux", Architecture: "arm64"}); !errors.As(err, &missing) || len(missing.Tried) != 4 {
		t.Errorf("error is %v, want the four places that were looked at", err)
	}
}

func TestBundleAsStubGivesItsStub(t *testing.T) {
	stub := storetest.Executable(elf.EM_X86_64)
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.WriterOptions{Stub: bytes.NewReader(stub), StubPlatform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := storetest.Files(t, map[string][]byte{"sealinstall": file.Bytes()})
	got, err := FindStub(filepath.Join(dir, "sealinstall"), amd64)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.data, stub) {
		t.Errorf("stub has %d bytes, want the %d before the payload", len(got.data), len(stub))
	}
}

func TestCareImageOfSeveralPlatformsIsAnIndex(t *testing.T) {
	st := storetest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	stubs := []Installer{{data: storetest.Executable(elf.EM_X86_64)}, {data: storetest.Executable(elf.EM_AARCH64)}}
	pinned, err := Care(st, stubs, []v1.Platform{amd64, arm})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, pinned.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	for _, p := range []v1.Platform{amd64, arm} {
		config, err := st.Config(v1.Descriptor{Digest: pinned.Digest}, p)
		if err != nil || config.Architecture != p.Architecture {
			t.Errorf("config for %s is for %s: %v", p.Architecture, config.Architecture, err)
		}
	}
}

func TestCareImageHoldsTheInstallerAlone(t *testing.T) {
	st := storetest.New(t)
	stub := Installer{data: storetest.Executable(elf.EM_X86_64)}
	pinned, err := Care(st, []Installer{stub}, []v1.Platform{amd64})
	if err != nil {
		t.Fatal(err)
	}
	if want := "sealbuild.io/care:" + digest.FromBytes(stub.data).Encoded()[:12]; pinned.Ref != want {
		t.Errorf("reference is %s, want %s", pinned.Ref, want)
	}
	again := storetest.New(t)
	if p, err := Care(again, []Installer{stub}, []v1.Platform{amd64}); err != nil || p.Digest != pinned.Digest {
		t.Errorf("a second time it is %s (%v), want %s", p.Digest, err, pinned.Digest)
	}
	config, err := st.Config(v1.Descriptor{Digest: pinned.Digest}, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/usr/bin/sealinstall", "care"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	raw, err := st.ReadBlob(pinned.Digest, ocigraph.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	f, err := st.OpenBlob(m.Layers[0].Digest)
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
