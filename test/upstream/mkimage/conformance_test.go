package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestBusyboxIsLinkedUnderEveryNameItKnowsButThoseOfOthers(t *testing.T) {
	input, out := inputDir(t), t.TempDir()
	for name, content := range map[string]string{"debian/bin/busybox": "b", "applets.txt": "[\nbusybox\ncat\nnc\nsh\n"} {
		if err := os.MkdirAll(filepath.Join(input, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(input, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	img := image{name: "example.com/b:1", user: "1234", layers: []layer{{
		busybox: true, without: []string{"nc"}, files: []file{{path: "bin/nnp", from: "programs/{arch}/tool", mode: 0o4755}},
	}}}
	if err := write(t.Context(), []image{img}, input, out, "amd64"); err != nil {
		t.Fatal(err)
	}
	var index v1.Index
	readJSON(t, filepath.Join(out, "index.json"), &index)
	var manifest v1.Manifest
	readJSON(t, filepath.Join(out, "blobs/sha256", index.Manifests[0].Digest.Encoded()), &manifest)
	var config v1.Image
	readJSON(t, filepath.Join(out, "blobs/sha256", manifest.Config.Digest.Encoded()), &config)
	if config.Config.User != "1234" {
		t.Errorf("the image runs as %q", config.Config.User)
	}
	f, err := os.Open(filepath.Join(out, "blobs/sha256", manifest.Layers[0].Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, strings.TrimSpace(header.Name+" "+header.Linkname))
		if header.Name == "bin/nnp" && header.Mode != 0o4755 {
			t.Errorf("nnp has mode %o", header.Mode)
		}
	}
	if diff := cmp.Diff([]string{"bin/", "bin/[ busybox", "bin/busybox", "bin/cat busybox", "bin/nnp", "bin/sh busybox"}, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestImagesOfBothSetsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, img := range append(images(versions{}), conformanceImages()...) {
		if seen[img.name] {
			t.Errorf("%s is made twice", img.name)
		}
		seen[img.name] = true
	}
	if _, err := selected("none"); err == nil {
		t.Error("there is a set none")
	}
}
