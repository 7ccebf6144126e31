package agent

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"protocol":2,"verb":"script","request":{"line":"true","env":{"A":"b"}}}`))
	f.Add([]byte(`{"protocol":2,"verb":"script","request":{"line":"x"}}{}`))
	f.Add([]byte(`{"protocol":2,"verb":"script","request":null}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var q ScriptRequest
		err := decodeRequest(line, verbScript, &q)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Code != CodeProtocol {
				t.Fatalf("%v", err)
			}
			return
		}
		body, _ := json.Marshal(q)
		again, _ := json.Marshal(request{protocol, verbScript, body})
		var q2 ScriptRequest
		if err := decodeRequest(again, verbScript, &q2); err != nil {
			t.Fatal(err)
		}
		if body2, _ := json.Marshal(q2); !bytes.Equal(body, body2) {
			t.Fatalf("%s, then %s", body, body2)
		}
	})
}

// FuzzLayerStaysInside applies any bytes as a layer, on a directory that has links out of it, and looks whether anything beside
// it changed.
func FuzzLayerStaysInside(f *testing.F) {
	f.Add(archive(f, entry{Name: "a/"}, entry{Name: "a/b", Body: "x"}, entry{Name: ".wh.c"}))
	f.Add(archive(f, entry{Name: "l", Link: "../outside"}, entry{Name: "l/evil", Body: "x"}))
	f.Add(archive(f, entry{Name: "h", Type: tar.TypeLink, Link: "out/secret"}, entry{Name: "h", Body: "x"}))
	f.Add(archive(f, entry{Name: "out/.wh.secret"}, entry{Name: "out/.wh..wh..opq"}, entry{Name: ".wh..wh..opq"}))
	f.Add(archive(f, entry{Name: "../x", Body: "x"}, entry{Name: ".layers/y", Body: "x"}))
	f.Fuzz(func(t *testing.T, tarball []byte) {
		base := t.TempDir()
		dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
		write(t, filepath.Join(outside, "secret"), "kept", 0o600)
		write(t, filepath.Join(dir, "c"), "old", 0o600)
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
		l := &layer{root: root, stage: stage, own: map[string]bool{}}
		if !hasDevice(tarball) {
			l.apply(bytes.NewReader(tarball))
		}
		if diff := cmp.Diff([]string{"secret=kept"}, tree(t, outside)); diff != "" {
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

func FuzzChunks(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xffabc"))
	f.Add([]byte("\x00\x00\x00\x03a"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, err := io.ReadAll(&chunkReader{r: bufio.NewReader(bytes.NewReader(wire))})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := sendChunks(&again, bytes.NewReader(got)); err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(&chunkReader{r: bufio.NewReader(&again)})
		if err != nil || !bytes.Equal(back, got) {
			t.Fatalf("%q, %v", back, err)
		}
	})
}
