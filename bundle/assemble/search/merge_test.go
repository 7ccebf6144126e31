package search

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

// entry is one entry of a layer: a file with content, or what the header says.
func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: 0o644, Size: int64(len(content))}
}

func tarOf(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// merged reads layers one upon the other, and returns what files are left, and their content.
func merged(t *testing.T, layers ...[]byte) (map[string]string, error) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	x := newExtraction(t.Context(), storetest.New(t), root)
	for _, layer := range layers {
		if err := x.read(bytes.NewReader(layer), int64(len(layer))); err != nil {
			return nil, err
		}
	}
	files := map[string]string{}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			files[name] = ""
			return nil
		}
		raw, err := root.ReadFile(name)
		files[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, nil
}

func TestLayersAreMergedAsTheSiteWillSeeThem(t *testing.T) {
	lower := []tar.Header{file("m/a.yaml", "a"), file("m/sub/b.yaml", "b"), file("n/c.yaml", "c")}
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755} }
	for name, tc := range map[string]struct {
		upper []tar.Header
		want  map[string]string
	}{
		"a whiteout":                      {[]tar.Header{file("m/.wh.a.yaml", "")}, map[string]string{"m/sub/b.yaml": "b", "n/c.yaml": "c"}},
		"a whiteout of a directory":       {[]tar.Header{file(".wh.m", "")}, map[string]string{"n/c.yaml": "c"}},
		"opaque":                          {[]tar.Header{file("m/.wh..wh..opq", ""), file("m/d.yaml", "d")}, map[string]string{"m/d.yaml": "d", "n/c.yaml": "c"}},
		"opaque, told last":               {[]tar.Header{file("m/d.yaml", "d"), file("m/.wh..wh..opq", "")}, map[string]string{"m/d.yaml": "d", "n/c.yaml": "c"}},
		"a whiteout after its successor":  {[]tar.Header{file("m/a.yaml", "new"), file("m/.wh.a.yaml", "")}, map[string]string{"m/a.yaml": "new", "m/sub/b.yaml": "b", "n/c.yaml": "c"}},
		"the whole image":                 {[]tar.Header{file("new.yaml", "n"), file(".wh..wh..opq", "")}, map[string]string{"new.yaml": "n"}},
		"a file in a directory's place":   {[]tar.Header{file("m", "file")}, map[string]string{"m": "file", "n/c.yaml": "c"}},
		"a program in a document's place": {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "m/a.yaml"}}, map[string]string{"m/sub/b.yaml": "b", "n/c.yaml": "c"}},
		"a directory in a file's place":   {[]tar.Header{dir("n/c.yaml")}, map[string]string{"m/a.yaml": "a", "m/sub/b.yaml": "b"}},
		"a directory that nothing makes":  {[]tar.Header{file("n/c.yaml/d.yaml", "d")}, map[string]string{"m/a.yaml": "a", "m/sub/b.yaml": "b", "n/c.yaml/d.yaml": "d"}},
		"through an absolute link": {
			[]tar.Header{link("l", "/m"), file("l/e.yaml", "e")},
			map[string]string{"l": "", "m/a.yaml": "a", "m/e.yaml": "e", "m/sub/b.yaml": "b", "n/c.yaml": "c"},
		},
		"through a link that leads out": {
			[]tar.Header{link("n/l", "../../../m"), file("n/l/e.yaml", "e")},
			map[string]string{"n/l": "", "m/a.yaml": "a", "m/e.yaml": "e", "m/sub/b.yaml": "b", "n/c.yaml": "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := merged(t, tarOf(t, lower...), tarOf(t, tc.upper...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScriptsAndDocumentsAreTakenWhereverTheyLie(t *testing.T) {
	got, err := merged(t, tarOf(t,
		file("usr/local/bin/install", "#!/bin/sh\n"), file("usr/bin/kubectl", "\x7fELF"), file("usr/share/app/app.yaml", "kind: Pod"),
		file("bin/run.sh", "#!/bin/bash\n"), file("lib/x.so", "\x7fELF"), file("opt/list", "a:1"), file("proc/x.yaml", "x"),
		file("opt/large.yaml", strings.Repeat(" ", maxPlain+1)), file("opt/large", strings.Repeat(" ", maxPlain+1)),
		file("images/deep/large.tar.zst", "\x28\xb5\x2f\xfd"+strings.Repeat(" ", maxPlain+1)),
	))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range []string{
		"usr/local/bin/install", "usr/bin/kubectl", "usr/share/app/app.yaml", "bin/run.sh", "lib/x.so", "opt/list", "proc/x.yaml",
		"opt/large.yaml", "opt/large", "images/deep/large.tar.zst",
	} {
		if _, ok := got[name]; ok {
			names = append(names, name)
		}
	}
	want := []string{"usr/local/bin/install", "usr/share/app/app.yaml", "bin/run.sh", "opt/list", "opt/large.yaml", "images/deep/large.tar.zst"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
}

func TestAHostileLayerTakesNoMoreThanItsShare(t *testing.T) {
	var deep []string
	for range maxDepth + 2 {
		deep = append(deep, "d")
	}
	for name, tc := range map[string]struct {
		layer []byte
		says  string
	}{
		"a sparse archive": {storetest.Sparse(t, "images/x.yaml", 3<<30), "images/x.yaml: it has 3.0 GiB"},
		"a sparse blob":    {storetest.Sparse(t, RegistryTree+"blobs/sha256/aa/aa/data", 3<<30), "it has 3.0 GiB"},
		"a deep directory": {tarOf(t, file(strings.Join(deep, "/"), "x")), "more than 200 directories"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := merged(t, tc.layer); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v, want one that says %q", err, tc.says)
			}
		})
	}
}
