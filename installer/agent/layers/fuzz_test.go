package layers

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

// FuzzLayerStaysInside applies any bytes as a layer, on a directory that has links out of it, and looks whether anything beside
// it changed.
func FuzzLayerStaysInside(f *testing.F) {
	f.Add(Archive(f, Entry{Name: "a/"}, Entry{Name: "a/b", Body: "x"}, Entry{Name: ".wh.c"}))
	f.Add(Archive(f, Entry{Name: "l", Link: "../outside"}, Entry{Name: "l/evil", Body: "x"}))
	f.Add(Archive(f, Entry{Name: "h", Type: tar.TypeLink, Link: "out/secret"}, Entry{Name: "h", Body: "x"}))
	f.Add(Archive(f, Entry{Name: "out/.wh.secret"}, Entry{Name: "out/.wh..wh..opq"}, Entry{Name: ".wh..wh..opq"}))
	f.Add(Archive(f, Entry{Name: "../x", Body: "x"}, Entry{Name: ".layers/y", Body: "x"}))
	f.Fuzz(func(t *testing.T, tarball []byte) {
		base := t.TempDir()
		dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
		filestest.Write(t, filepath.Join(outside, "secret"), "kept", 0o600)
		filestest.Write(t, filepath.Join(dir, "c"), "old", 0o600)
		for name, target := range map[string]string{"out": "../outside", "abs": outside, "up": ".."} {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		stage, err := openStage(root)
		if err != nil {
			t.Fatal(err)
		}
		defer stage.close()
		// Devices would be real ones.
		l := &layer{root: root, stage: stage, own: map[string]bool{}, disk: files.At("").Disk}
		if !hasDevice(tarball) {
			l.apply(bytes.NewReader(tarball))
		}
		if diff := cmp.Diff([]string{"secret=kept"}, Tree(t, outside)); diff != "" {
			t.Fatal(diff)
		}
		if info, err := os.Stat(filepath.Join(outside, "secret")); err != nil || info.Mode() != 0o600 {
			t.Fatalf("%v %v", info, err)
		}
		if entries, _ := os.ReadDir(base); len(entries) != 2 {
			t.Fatalf("%v", entries)
		}
	})
}

func hasDevice(tarball []byte) bool {
	r := tar.NewReader(bytes.NewReader(tarball))
	for {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			return true
		}
	}
}
