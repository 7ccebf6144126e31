package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

const large = 24 << 20 // bytes: more than what is buffered on the way

func complete(t testing.TB, results []Copied) {
	t.Helper()
	for _, r := range results {
		if r.Error != "" {
			t.Errorf("%s: %s", r.Host, r.Error)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func totals(results []Copied) (sent, passed int64, changed int) {
	for _, r := range results {
		sent, passed, changed = sent+r.Sent, passed+r.Passed, changed+r.Changed
	}
	return sent, passed, changed
}

// toldOf is how many bytes it was told of that each host had in the end.
type toldOf struct {
	mu    sync.Mutex
	bytes map[string]int64
}

func (a *toldOf) Event(e progress.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Kind == progress.WorkEnds && e.Done == e.Bytes {
		a.bytes[e.Host] += e.Done
	}
}

// aBit is what requests and frames may take beside the bytes of files.
const aBit = 1 << 20

func TestAFileLeavesThisMachineOnceHoweverManyHosts(t *testing.T) {
	s := newSite(t, 5, true)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, large, 1)
	src := source(t, file)
	told := &toldOf{bytes: map[string]int64{}}
	s.Report = installer.ReportTo(told, io.Discard, false)
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file")
	complete(t, results)
	for _, r := range results {
		if got := told.bytes[r.Host]; got != large {
			t.Errorf("%s: it is told of %d bytes of %d", r.Host, got, large)
		}
	}
	sent, passed, changed := totals(results)
	if sent != large || passed != 4*large || changed != 5 {
		t.Errorf("sent %d, passed on %d, %d changes", sent, passed, changed)
	}
	if all := s.sent(); all < large || all > large+aBit {
		t.Errorf("%d bytes left this machine for a file of %d", all, large)
	}
	want := tree(t, file)
	for _, h := range s.hosts {
		if diff := cmp.Diff(want, tree(t, h.path("/srv/file"))); diff != "" {
			t.Errorf("%s: %s", h.name, diff)
		}
		if left := names(t, h.path("/srv")); !cmp.Equal(left, []string{"file"}) {
			t.Errorf("%s: beside the file there is %q", h.name, left)
		}
	}

	// What is there is not sent, and nothing is changed.
	results = Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file")
	complete(t, results)
	if sent, passed, changed := totals(results); sent+passed != 0 || changed != 0 || s.sent() > aBit {
		t.Errorf("again: sent %d, passed on %d, %d changes", sent, passed, changed)
	}

	// A host that lacks it takes it from another one that has it.
	if err := os.Remove(s.hosts[4].path("/srv/file")); err != nil {
		t.Fatal(err)
	}
	results = Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file")
	complete(t, results)
	if diff := cmp.Diff(want, tree(t, s.hosts[4].path("/srv/file"))); diff != "" {
		t.Error(diff)
	}
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestHostsThatDoNotReachEachOtherAreSentAll(t *testing.T) {
	s := newSite(t, 3, false)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, 1<<20, 1)
	results := Copy(t.Context(), s.Fleet, s.bring, source(t, file), "/srv/file")
	complete(t, results)
	if sent, passed, _ := totals(results); sent != 3<<20 || passed != 0 {
		t.Errorf("sent %d, passed on %d", sent, passed)
	}
	for _, h := range s.hosts {
		if diff := cmp.Diff(tree(t, file), tree(t, h.path("/srv/file"))); diff != "" {
			t.Error(diff)
		}
	}
}

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

func TestAFileThatIsReplacedKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	s := newSite(t, 1, true)
	dst := s.hosts[0].path("/srv/file")
	write(t, dst, "old", 0o600)
	if err := os.Chown(dst, 12, 34); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "new content", 0o600)
	complete(t, Copy(t.Context(), s.Fleet, s.bring, source(t, file), "/srv/file"))
	info, err := os.Stat(dst)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 12 || st.Gid != 34 || info.Size() != 11 {
		t.Errorf("it belongs to %d:%d and has %d bytes", st.Uid, st.Gid, info.Size())
	}
}

func TestADirectoryThatWasNotThereAppearsWholeOrNotAtAll(t *testing.T) {
	s := newSite(t, 1, true)
	dir := filepath.Join(t.TempDir(), "dir")
	random(t, dir+"/first", 4<<20, 1)
	random(t, dir+"/second", 4<<20, 2)
	h := s.hosts[0]
	h.dieAt.Store(6 << 20)
	src := source(t, dir)
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/dir")
	if !strings.Contains(results[0].Error, "the same command goes on from there") {
		t.Errorf("it says %q", results[0].Error)
	}
	if _, err := os.Lstat(h.path("/srv/dir")); err == nil {
		t.Error("a part of the directory has its name")
	}

	// What has toldOf is not sent again.
	h.dieAt.Store(0)
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

func TestAHostThatCannotTakeACopyIsToldAndTheOthersGetIt(t *testing.T) {
	s := newSite(t, 6, true)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, large, 1)
	s.hosts[0].dieAt.Store(8 << 20)
	s.hosts[0].begun = make(chan struct{})
	if err := os.Remove(s.hosts[1].path("/srv")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.hosts[2].path("/srv/file"), 0o755); err != nil {
		t.Fatal(err)
	}
	hangs := make(chan struct{})
	over := make(chan []Copied)
	go func() {
		over <- Copy(t.Context(), s.Fleet, func(ctx context.Context, target *fleet.Target) error {
			switch target {
			case s.Targets[3]:
				<-hangs
				return fmt.Errorf("no login within 15s")
			case s.Targets[4], s.Targets[5]:
				<-s.hosts[0].begun // that one is the first, which this machine sends to
			}
			return s.bring(ctx, target)
		}, source(t, file), "/srv/file")
	}()
	// The copy is in its place on the hosts that live while another one still hangs.
	for _, h := range s.hosts[4:] {
		deadline := time.Now().Add(time.Minute)
		for {
			if _, err := os.Lstat(h.path("/srv/file")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s waits for a host that hangs", h.name)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	close(hangs)
	results := <-over
	for i, want := range []string{"connection reset", "there is no directory /srv", "/srv/file is a directory", "no login within"} {
		if !strings.Contains(results[i].Error, want) {
			t.Errorf("%s: %q does not say %q", results[i].Host, results[i].Error, want)
		}
	}
	complete(t, results[4:])
	for _, h := range s.hosts[4:] {
		if diff := cmp.Diff(tree(t, file), tree(t, h.path("/srv/file"))); diff != "" {
			t.Error(diff)
		}
	}
}

func TestADiskWithoutRoomIsToldBeforeAnythingIsSent(t *testing.T) {
	s := newSite(t, 1, true)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, 1<<20, 1)
	src := source(t, file)
	src.Entries[0].Size = 1 << 50
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file")
	if !strings.Contains(results[0].Error, "the copy needs 1.0 PiB") || s.sent() > aBit {
		t.Errorf("it says %q", results[0].Error)
	}
}

func TestWhatWasChangedAfterACutIsNotTakenForTheContent(t *testing.T) {
	s := newSite(t, 1, true)
	h := s.hosts[0]
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "the right content", 0o600)
	write(t, h.path("/srv/file"), "the right content", 0o600)
	src := source(t, file)
	_ = s.bring(t.Context(), s.Targets[0])
	// A copy is cut off when its content was taken into the store, and the file is written over in place.
	if _, err := s.Targets[0].Agent.PrepareCopy(t.Context(), agent.CopyRequest{To: "/srv/file", Entries: src.Entries}); err != nil {
		t.Fatal(err)
	}
	write(t, h.path("/srv/file"), "the WRONG content", 0o600)
	complete(t, Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file"))
	if diff := cmp.Diff(tree(t, file), tree(t, h.path("/srv/file"))); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoFileIsNotCopied(t *testing.T) {
	if _, err := ReadSource(t.Context(), "/dev/null"); err == nil || !strings.Contains(err.Error(), "/dev/null is neither a file") {
		t.Error(err)
	}
}
