package layers

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// Entry is one of an archive: a name that ends in / is a directory, a link leads to Link.
type Entry struct {
	Name, Body, Link string
	Type             byte
	Mode             int64
}

// Archive is a tar of entries.
func Archive(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Size: int64(len(e.Body)), Mode: e.Mode, ModTime: time.Unix(1000, 0), Uid: os.Geteuid(), Gid: os.Getegid()}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		switch {
		case e.Type != 0:
		case strings.HasSuffix(e.Name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case e.Link != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.Body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Tree describes what is in a directory, but for what is kept about layers.
func Tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		switch {
		case err != nil || name == ".":
			return err
		case name == layersDir:
			return fs.SkipDir
		case d.IsDir():
			name += "/"
		case d.Type() == fs.ModeSymlink:
			link, _ := os.Readlink(p)
			name += " -> " + link
		case d.Type().IsRegular():
			text, _ := os.ReadFile(p)
			name += "=" + string(text)
		}
		out = append(out, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}
