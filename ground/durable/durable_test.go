package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// before makes a directory with one file to replace.
func before(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantBefore fails unless the old file is whole and alone.
func wantBefore(t *testing.T, path string) {
	t.Helper()
	if diff := cmp.Diff([]string{filepath.Base(path)}, names(t, filepath.Dir(path))); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
	if got := content(t, path); got != "before" {
		t.Errorf("the old file is %q", got)
	}
}

func TestWriteReplacesContentAndMode(t *testing.T) {
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"durable": Write, "a cache": WriteCache} {
		t.Run(name, func(t *testing.T) {
			path := before(t)
			for _, mode := range []fs.FileMode{0o600, 0o666, 0o755 | fs.ModeSetuid} { // whatever the umask says
				if err := write(path, []byte(mode.String()), mode); err != nil {
					t.Fatal(err)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != mode || content(t, path) != mode.String() {
					t.Errorf("mode %v, content %q; want %v", info.Mode(), content(t, path), mode)
				}
			}
			if diff := cmp.Diff([]string{"file"}, names(t, filepath.Dir(path))); diff != "" {
				t.Errorf("what is there (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteTakesTheLongestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	if err := Write(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "x" {
		t.Errorf("content %q", got)
	}
}

func TestRelativePathIsWrittenBesideItself(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Write("file", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"file"}, names(t, ".")); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "file")
	err := Write(path, nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "write "+path+": ") {
		t.Errorf("in no directory: %v", err)
	}
}

// limited makes every write of this process behind so many bytes of a file fail, as on a full disk.
func limited(t *testing.T, bytes uint64, fn func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}

func TestFullDiskLeavesTheOldFileWhole(t *testing.T) {
	path := before(t)
	var err error
	limited(t, 8, func() { err = Write(path, []byte("more than eight bytes"), 0o600) })
	if !errors.Is(err, unix.EFBIG) || !strings.HasPrefix(err.Error(), "write "+path+": ") {
		t.Errorf("error %v", err)
	}
	wantBefore(t, path)
}

func TestDirectoryThatCannotBeReplacedStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Error("a file replaced a directory")
	}
	if diff := cmp.Diff([]string{"file"}, names(t, filepath.Dir(path))); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	path := before(t)
	f, err := Create(path, ".temp-")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	wantBefore(t, path)
}

func TestStagedErrorEndsTheWriteAsItIs(t *testing.T) {
	path := before(t)
	f, err := Create(path, ".temp-")
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	f.Staged = func() error { return stop }
	if err := f.Commit(0o600); err != stop {
		t.Errorf("error %v", err)
	}
	wantBefore(t, path)
}

func TestWhatAKilledProcessLeftGoesWithTheNextWrite(t *testing.T) {
	dir := t.TempDir()
	leave := func(name string, living bool) string {
		f, err := Create(filepath.Join(dir, name), ".temp-")
		if err != nil {
			t.Fatal(err)
		}
		if !living { // the kernel closes its files
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(f.Discard)
		return filepath.Base(f.Name())
	}
	leave("admin.conf", false)
	other := leave("scheduler.conf", false)
	living := leave("admin.conf", true)
	f, err := Create(filepath.Join(dir, "admin.conf"), ".temp-")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{living, other, "admin.conf"}, names(t, dir)); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
	Sweep(dir, ".temp-")
	if diff := cmp.Diff([]string{living, "admin.conf"}, names(t, dir)); diff != "" {
		t.Errorf("what is there after a sweep (-want +got):\n%s", diff)
	}
}

func TestRenameReplacesWhatHasTheName(t *testing.T) {
	path := before(t)
	to := path + ".other"
	if err := Write(to, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Rename(path, to); err != nil {
		t.Fatal(err)
	}
	if got := content(t, to); got != "before" {
		t.Errorf("content %q", got)
	}
	if err := Rename(path, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file that is not there: %v", err)
	}
}
