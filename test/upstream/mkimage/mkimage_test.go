package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// inputDir is an input directory with one program per architecture.
func inputDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(dir, "programs", arch)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "tool"), []byte("program for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func testImages() []image {
	shared := layer{comment: "shared", files: []file{directory("tmp", 0o1777), text("etc/issue", "x\n")}}
	tool := layer{comment: "tool", files: []file{program("usr/bin/tool", "programs/{arch}/tool"), symlink("bin/t", "/usr/bin/tool")}}
	return []image{
		{name: "example.com/one:1", layers: []layer{shared, tool}, entrypoint: []string{"tool"}, ports: []string{"80/tcp"}},
		{name: "example.com/two:2", arches: []string{"amd64", "arm64"}, layers: []layer{shared, tool}},
	}
}

func TestEqualInputsGiveEqualBytes(t *testing.T) {
	input := inputDir(t)
	var contents []map[string]string
	for range 2 {
		out := t.TempDir()
		if err := write(t.Context(), testImages(), input, out, "amd64"); err != nil {
			t.Fatal(err)
		}
		contents = append(contents, snapshot(t, out))
	}
	if diff := cmp.Diff(contents[0], contents[1]); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
}

// snapshot reads a layout and checks that every blob has the digest it is
// named by.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == "sha256" && digest.FromBytes(data).Encoded() != entry.Name() {
			t.Errorf("blob %s does not have that digest", entry.Name())
		}
		files[strings.TrimPrefix(path, dir)] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readJSON(t *testing.T, path string, value any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		t.Fatal(err)
	}
}

func TestLayoutNamesImagesAndSharesLayers(t *testing.T) {
	out := t.TempDir()
	if err := write(t.Context(), testImages(), inputDir(t), out, "amd64"); err != nil {
		t.Fatal(err)
	}
	blobPath := func(d digest.Digest) string { return filepath.Join(out, "blobs", "sha256", d.Encoded()) }
	var index, second v1.Index
	readJSON(t, filepath.Join(out, "index.json"), &index)
	var names []string
	for _, m := range index.Manifests {
		names = append(names, m.Annotations[v1.AnnotationRefName])
	}
	if diff := cmp.Diff([]string{"example.com/one:1", "example.com/two:2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	readJSON(t, blobPath(index.Manifests[1].Digest), &second)
	var first, amd64, arm64 v1.Manifest
	readJSON(t, blobPath(index.Manifests[0].Digest), &first)
	readJSON(t, blobPath(second.Manifests[0].Digest), &amd64)
	readJSON(t, blobPath(second.Manifests[1].Digest), &arm64)
	if diff := cmp.Diff(first.Layers, amd64.Layers); diff != "" {
		t.Errorf("the same files made different layers:\n%s", diff)
	}
	if amd64.Layers[1].Digest == arm64.Layers[1].Digest {
		t.Error("both architectures got the same program")
	}
	var config v1.Image
	readJSON(t, blobPath(first.Config.Digest), &config)
	if config.Architecture != "amd64" || config.Config.Entrypoint[0] != "tool" || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("config is %+v", config)
	}
	checkLayer(t, blobPath(first.Layers[1].Digest), config.RootFS.DiffIDs[1])
}

func checkLayer(t *testing.T, path string, diffID digest.Digest) {
	t.Helper()
	compressed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(plain); got != diffID {
		t.Errorf("layer decompresses to %s, config says %s", got, diffID)
	}
	var entries []string
	for archive := tar.NewReader(bytes.NewReader(plain)); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, header.Name+header.Linkname)
		if header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d and is of %v", header.Name, header.Uid, header.ModTime)
		}
	}
	want := []string{"bin/", "bin/t/usr/bin/tool", "usr/", "usr/bin/", "usr/bin/tool"}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestFailedImageLeavesNoLayout(t *testing.T) {
	out := t.TempDir()
	broken := []image{{name: "x:1", layers: []layer{{files: []file{program("a", "programs/none")}}}}}
	err := write(t.Context(), broken, inputDir(t), out, "amd64")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "image x:1: entry a") {
		t.Errorf("error is %v, want one that names image and entry", err)
	}
	if _, err := os.Stat(filepath.Join(out, "oci-layout")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an unfinished directory is marked as a layout")
	}
	if left, err := filepath.Glob(filepath.Join(out, ".blob-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestLinksAreFollowedToTheProgram(t *testing.T) {
	root := t.TempDir()
	for link, target := range map[string]string{"usr/bin/multi": "/usr/bin/tool", "usr/bin/first": "multi"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := closure(root, []string{"usr/bin/first", "usr/bin/none*"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"usr/bin/first", "usr/bin/multi", "usr/bin/tool"}, got); diff != "" {
		t.Errorf("collected (-want +got):\n%s", diff)
	}
	if _, err := closure(root, []string{"usr/bin/none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error for a missing program is %v, want ErrNotExist", err)
	}
}

func TestNeededLibrariesAreCollected(t *testing.T) {
	// This machine's own root is a tree of packages as good as any.
	paths, err := closure("/", []string{"usr/bin/env"})
	if err != nil {
		t.Skip("no dynamic program to look at: ", err)
	}
	var libc, loader bool
	for _, p := range paths {
		libc = libc || strings.Contains(p, "libc.so") || strings.Contains(p, "libc-")
		loader = loader || strings.Contains(filepath.Base(p), "ld-")
	}
	if !libc || !loader {
		t.Errorf("a dynamic program needs its C library and loader; collected: %v", paths)
	}
}

func TestMissingVersionsAreNamedTogether(t *testing.T) {
	_, err := tagsFrom(func(name string) (string, bool) { return "1", name != "ETCD_TAG" && name != "PAUSE_TAG" })
	if err == nil || !strings.Contains(err.Error(), "ETCD_TAG") || !strings.Contains(err.Error(), "PAUSE_TAG") {
		t.Errorf("error is %v, want both names", err)
	}
}
