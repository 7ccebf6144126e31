// Package filestest makes files for the tests of what works on a host's files, and tells what is there.
package filestest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Write makes a file, and the directories above it.
func Write(t testing.TB, name, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

// Root is the root of a machine that has nothing but a file system, in memory where that can be: much is synced.
func Root(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "sealbuild-node-")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	Write(t, filepath.Join(root, "proc/self/mounts"), "root / tmpfs rw 0 0\n", 0o600)
	return root
}

// Below lists files, links and empty directories of a machine below a directory, sorted.
func Below(t testing.TB, root, dir string) []string {
	t.Helper()
	out := []string{}
	err := filepath.WalkDir(root+dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if entries, err := os.ReadDir(name); err != nil || len(entries) > 0 {
				return err
			}
			name += "/"
		}
		out = append(out, strings.TrimPrefix(name, root))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
