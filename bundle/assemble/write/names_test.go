package write

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle"
)

const partID = "ABCDEFGHIJ"

// bundleIn writes a bundle of so many parts, and returns the digest of its index.
func bundleIn(t *testing.T, name string, parts int) digest.Digest {
	t.Helper()
	out, err := bundle.CreateParts(name, bundle.MinPartSize)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := bundle.NewWriter(out, bundle.WriterOptions{PartSize: bundle.MinPartSize})
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, (parts-1)*bundle.MinPartSize+1)
	_, _ = rand.Read(noise[:1000])
	if err := w.AddBlob(t.Context(), digest.FromBytes(noise), int64(len(noise)), false, bytes.NewReader(noise)); err != nil {
		t.Fatal(err)
	}
	sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return sum.IndexDigest
}

// site is a directory with a bundle of four parts and one of three that is to take its place.
type site struct {
	dir, output string
	old, fresh  digest.Digest
	oldNames    []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	s.output = filepath.Join(s.dir, "site.run")
	s.old = bundleIn(t, s.output, 4)
	s.oldNames = s.names(t)
	s.fresh = bundleIn(t, beside(s.output, written)+partID, 3)
	return s
}

func (s *site) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// is the digest of the index of the bundle that lies there, whole.
func (s *site) is(t *testing.T) digest.Digest {
	t.Helper()
	f, err := bundle.OpenFile(s.output)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.IndexDigest()
}

var freshNames = []string{"site.run", "site.run.002", "site.run.003"}

// killedAt ends what fn does at its nth rename, as a kill does: nothing is tidied up.
func killedAt(t *testing.T, n int, fn func()) (killed bool) {
	t.Helper()
	rename = func(from, to string) error {
		if n--; n < 0 {
			panic("killed")
		}
		return os.Rename(from, to)
	}
	defer func() {
		rename = os.Rename
		killed = recover() != nil
	}()
	fn()
	return false
}

func TestASplitBundleIsReplacedWholeOrNotAtAll(t *testing.T) {
	for n := 0; ; n++ {
		s := newSite(t)
		killed := killedAt(t, n, func() { _, _ = giveNames(s.output, partID, 3) })
		if err := sweep(s.output); err != nil { // as the next sealbuild does
			t.Fatalf("killed at rename %d: %v", n, err)
		}
		want, names := s.fresh, freshNames
		if n == 0 {
			want, names = s.old, s.oldNames // it was not whole yet, as far as anybody could see
		}
		if got := s.is(t); got != want {
			t.Errorf("killed at rename %d: the bundle is %s, want %s", n, got, want)
		}
		got := slices.DeleteFunc(s.names(t), func(name string) bool { return killed && name == "site.run.004" }) // read by nobody
		if diff := cmp.Diff(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return killed && n == "site.run.004" }), got); diff != "" {
			t.Errorf("killed at rename %d: files (-want +got):\n%s", n, diff)
		}
		if !killed {
			return
		}
	}
}

func TestAPartThatCannotBeReplacedLeavesTheOldBundle(t *testing.T) {
	for _, part := range []string{".002", ".003"} {
		s := newSite(t)
		if err := os.MkdirAll(filepath.Join(beside(s.output, replaced)+partID+part, "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := giveNames(s.output, partID, 3); err == nil || !strings.Contains(err.Error(), "as it was") {
			t.Errorf("%s: error is %v", part, err)
		}
		if got := s.is(t); got != s.old {
			t.Errorf("%s: the bundle is %s, want the old one, %s", part, got, s.old)
		}
	}
}

// What cannot be tidied up after the last rename is no failure to replace, and is not told as one.
func TestAnOldPartThatCannotBeRemovedIsToldAsWhatItIs(t *testing.T) {
	s := newSite(t)
	rename = func(from, to string) error {
		if to == s.output { // the part that is too many is in use by somebody
			part := bundle.PartName(s.output, 4)
			if err := os.Remove(part); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Join(part, "in the way"), 0o755); err != nil {
				return err
			}
		}
		return os.Rename(from, to)
	}
	defer func() { rename = os.Rename }()
	_, err := giveNames(s.output, partID, 3)
	if err == nil || !strings.Contains(err.Error(), "the new bundle is in its place") || strings.Contains(err.Error(), "as it was") {
		t.Errorf("error is %v", err)
	}
	if got := s.is(t); got != s.fresh {
		t.Errorf("the bundle is %s, want the new one, %s", got, s.fresh)
	}
}

func TestLeftoversOfAKilledWriterAreSwept(t *testing.T) {
	s := newSite(t)
	busy := beside(s.output, written) + "KLMNOPQRST"
	other := filepath.Join(s.dir, ".other.run.new-"+partID)
	for _, name := range []string{busy, busy + ".002", other} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := sweep(s.output); err != nil {
		t.Fatal(err)
	}
	want := append([]string{filepath.Base(other), filepath.Base(busy), filepath.Base(busy) + ".002"}, s.oldNames...)
	if diff := cmp.Diff(want, s.names(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := s.is(t); got != s.old || strings.Contains(strings.Join(s.names(t), " "), partID+".0") {
		t.Errorf("the bundle is %s, want %s", got, s.old)
	}
}
