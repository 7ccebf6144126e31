package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the answer that sealbuild's tests read")

// answer is what is said of rootfs(); the tests of sealbuild read the same file.
const answer = "../../bundle/assemble/sbom/testdata/sealsbom.json"

// rootfs are the files of an image with packages of Debian, Alpine, Python and node in it.
func rootfs() map[string]string {
	return map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"var/lib/dpkg/status": "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nSource: hello-src (2.10)\nVersion: 2.10-3\n" +
			"Maintainer: Somebody <somebody@example.com>\nDescription: greets\n\n" +
			"Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n",
		"usr/share/doc/hello/copyright": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n" +
			"Files: *\nCopyright: Somebody\nLicense: GPL-3+\n\nFiles: doc/*\nCopyright: Somebody\nLicense: as-you-like\n",
		"lib/apk/db/installed": "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nT:a C library\n\n",
		"usr/lib/python3/dist-packages/greet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\nLicense: Apache-2.0\n",
		"srv/app/node_modules/left/package.json":                     `{"name": "left", "version": "1.3.0", "license": "(MIT OR Apache-2.0)"}`,
		"srv/other/node_modules/left/package.json":                   `{"name": "left", "version": "1.3.0", "license": "(MIT OR Apache-2.0)"}`,
	}
}

// layout writes an image with the files, each layer one map, as an OCI layout.
func layout(t *testing.T, layers ...map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(mediaType string, data []byte) map[string]any {
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		write(t, filepath.Join(dir, "blobs", "sha256", name), data)
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + name, "size": len(data)}
	}
	var described []any
	var ids []string
	for _, files := range layers {
		d := put("application/vnd.oci.image.layer.v1.tar", archive(t, files))
		described, ids = append(described, d), append(ids, d["digest"].(string))
	}
	config := put("application/vnd.oci.image.config.v1+json", encoded(t, map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}))
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	image := put(manifest, encoded(t, map[string]any{"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": described}))
	write(t, filepath.Join(dir, "index.json"), encoded(t, map[string]any{"schemaVersion": 2, "manifests": []any{image}}))
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// said is what is written of a layout.
func said(t *testing.T, dir string) []byte {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	if err := run([]string{dir}, &out); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	return out.Bytes()
}

func TestPackagesOfAnImageAreListedWithTheirLicences(t *testing.T) {
	var got Found
	if err := json.Unmarshal(said(t, layout(t, rootfs())), &got); err != nil {
		t.Fatal(err)
	}
	got.Tool.Version = "the one of go.mod" // a test has no versions of modules
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, answer, append(text, '\n'))
	}
	raw, err := os.ReadFile(answer)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(text)+"\n"); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestSameImageGivesTheSameAnswer(t *testing.T) {
	first := said(t, layout(t, rootfs()))
	for range 3 {
		if diff := cmp.Diff(string(first), string(said(t, layout(t, rootfs())))); diff != "" {
			t.Fatalf("another answer:\n%s", diff)
		}
	}
}

func TestWhatALaterLayerRemovesIsNotThere(t *testing.T) {
	var got Found
	if err := json.Unmarshal(said(t, layout(t, rootfs(), map[string]string{"var/lib/dpkg/.wh.status": "", "srv/.wh..wh..opq": ""})), &got); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, p := range got.Packages {
		types = append(types, p.Type)
	}
	if diff := cmp.Diff([]string{"apk", "python"}, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

func TestModulesOfAGoProgramAreListed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var got Found
	if err := json.Unmarshal(said(t, layout(t, map[string]string{"usr/bin/tool": string(program)})), &got); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(got.Packages, func(p Package) bool { return p.Name == "stdlib" && p.Type == "go-module" })
	if i < 0 || !strings.HasPrefix(got.Packages[i].PURL, "pkg:golang/stdlib@1.") || !slices.Equal(got.Packages[i].Paths, []string{"/usr/bin/tool"}) {
		t.Errorf("packages are %v", got.Packages)
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing": {}, "two": {"a", "b"}, "no layout": {t.TempDir()}, "a name of a registry": {"registry.invalid/x:1"},
	} {
		var out bytes.Buffer
		if err := run(args, &out); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, says %q", name, err, &out)
		}
	}
}

func TestVersionSaysWhatSearches(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"--version"}, &out); err != nil || !strings.HasPrefix(out.String(), fmt.Sprintf("sealsbom %d, syft ", format)) {
		t.Errorf("%q, %v", &out, err)
	}
}
