package remote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

const large = 24 << 20 // bytes: more than what is buffered on the way

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

// aBit is what requests and frames may take beside the bytes of files.
const aBit = 1 << 20

func TestAFileLeavesThisMachineOnceHoweverManyHosts(t *testing.T) {
	s := newSite(t, 5, true)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, large, 1)
	src := source(t, file)
	results := Copy(t.Context(), s.Fleet, s.bring, src, "/srv/file")
	complete(t, results)
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

func TestAHostThatCannotTakeACopyIsToldAndTheOthersGetIt(t *testing.T) {
	s := newSite(t, 6, true)
	file := filepath.Join(t.TempDir(), "file")
	random(t, file, large, 1)
	s.hosts[0].dieAt, s.hosts[0].begun = 8<<20, make(chan struct{})
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
