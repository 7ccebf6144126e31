package remote

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/registrytest"
)

// aDirectory has what directories have: files of one content, empty ones, links, a directory that only root may read.
func aDirectory(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "dir")
	write(t, dir+"/a", "one content", 0o644)
	write(t, dir+"/sub/b", "one content", 0o600)
	write(t, dir+"/sub/c", "another", 0o755)
	write(t, dir+"/empty", "", 0o444)
	if err := os.Mkdir(dir+"/shut", 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"/link": "sub/c", "/nowhere": "/not/there"} {
		if err := os.Symlink(to, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(dir+"/sub", whenMade, whenMade); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestADirectoryIsCopiedAsItIs(t *testing.T) {
	s := newSite(t, 2, true)
	dir := aDirectory(t)
	src := source(t, dir)
	complete(t, Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir"))
	for _, h := range s.hosts {
		if diff := cmp.Diff(tree(t, dir), tree(t, h.path("/srv/dir"))); diff != "" {
			t.Errorf("%s: %s", h.name, diff)
		}
		a, err := os.Stat(h.path("/srv/dir/a"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(h.path("/srv/dir/sub/b"))
		if err != nil || os.SameFile(a, b) {
			t.Errorf("two files became one: %v", err)
		}
		info, err := os.Stat(h.path("/srv/dir/sub"))
		if err != nil || !info.ModTime().Equal(whenMade) {
			t.Errorf("a directory's time is %v: %v", info.ModTime(), err)
		}
	}
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir")
	complete(t, results)
	if _, _, changed := totals(results); changed != 0 {
		t.Errorf("a second copy made %d changes", changed)
	}
}

func TestInADirectoryThatIsThereNothingIsDeleted(t *testing.T) {
	s := newSite(t, 1, true)
	h := s.hosts[0]
	write(t, h.path("/srv/dir/own"), "of the host", 0o600)
	write(t, h.path("/srv/dir/a"), "old", 0o600)
	write(t, h.path("/srv/dir/copy-of-another"), "another", 0o600)
	if err := os.Symlink("elsewhere", h.path("/srv/dir/link")); err != nil {
		t.Fatal(err)
	}
	dir := aDirectory(t)
	complete(t, Copy(t.Context(), s.Fleet, s.bring, source(t, dir), "/srv/dir"))
	want := tree(t, dir)
	got := tree(t, h.path("/srv/dir"))
	for _, own := range []string{"own", "copy-of-another"} {
		if got[own] == "" {
			t.Errorf("%s is gone", own)
		}
		delete(got, own)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilesBelowADirectoryOnAnotherFileSystemAreCopiedToo(t *testing.T) {
	s := newSite(t, 1, true)
	other := registrytest.MemoryDir(t)
	to := s.hosts[0].path("/srv/dir")
	if err := errors.Join(os.Mkdir(to, 0o755), os.Symlink(other, to+"/sub")); err != nil {
		t.Fatal(err)
	}
	dir := aDirectory(t)
	src := source(t, dir)
	for i := range 2 {
		results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir")
		complete(t, results)
		want := tree(t, dir+"/sub")
		delete(want, ".")
		got := tree(t, other)
		delete(got, ".")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if sent, _, changed := totals(results); i > 0 && (sent > 0 || changed > 0) {
			t.Errorf("a second copy sent %d bytes and made %d changes", sent, changed)
		}
	}
}

func TestADirectoryThatWasNotThereAppearsWholeOrNotAtAll(t *testing.T) {
	s := newSite(t, 1, true)
	dir := filepath.Join(t.TempDir(), "dir")
	random(t, dir+"/first", 4<<20, 1)
	random(t, dir+"/second", 4<<20, 2)
	h := s.hosts[0]
	h.dieAt = 6 << 20
	src := source(t, dir)
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir")
	if !strings.Contains(results[0].Error, "the same command goes on from there") {
		t.Errorf("it says %q", results[0].Error)
	}
	if _, err := os.Lstat(h.path("/srv/dir")); err == nil {
		t.Error("a part of the directory has its name")
	}

	// What has arrived is not sent again.
	h.dieAt = 0
	h.sent.Store(0)
	results = Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir")
	complete(t, results)
	if sent := h.sent.Load(); sent > 3<<20 {
		t.Errorf("%d bytes were sent to go on", sent)
	}
	if diff := cmp.Diff(tree(t, dir), tree(t, h.path("/srv/dir"))); diff != "" {
		t.Error(diff)
	}
}
