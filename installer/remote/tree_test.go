package remote

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var whenMade = time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)

// random writes a file of bytes that nothing can shorten.
func random(t testing.TB, name string, size int, seed uint64) {
	t.Helper()
	data := make([]byte, size)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(data)
	write(t, name, string(data), 0o640)
}

func write(t testing.TB, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, whenMade, whenMade); err != nil {
		t.Fatal(err)
	}
}

func source(t testing.TB, name string) *Source {
	t.Helper()
	s, err := ReadSource(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree describes what lies below a directory: the mode of each entry, of files their content and time, of links what they hold.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, _ := filepath.Rel(root, name)
		switch {
		case info.IsDir():
			out[below] = info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(name)
			out[below] = "-> " + to
			return err
		default:
			text, err := os.ReadFile(name)
			out[below] = fmt.Sprintf("%s %x %s", info.Mode(), sha256.Sum256(text), info.ModTime().UTC().Format(time.RFC3339Nano))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
