package store

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBlobsOfAnEarlierBootAreHashedAgain(t *testing.T) {
	root := t.TempDir()
	whole, lost, unnamed := digest.FromString("whole"), digest.FromString("lost"), digest.FromString("unnamed")
	earlier := filepath.Join(root, "fresh", "00000000-0000-0000-0000-000000000000")
	for _, d := range []digest.Digest{whole, lost, unnamed} {
		write(t, filepath.Join(earlier, d.Encoded()), "")
	}
	write(t, filepath.Join(root, "blobs", "sha256", whole.Encoded()), "whole")
	write(t, filepath.Join(root, "blobs", "sha256", lost.Encoded()), "l\x00\x00\x00")
	s := open(t, root)
	if _, ok := s.Has(whole); !ok {
		t.Error("a whole blob was given up")
	}
	for _, d := range []digest.Digest{lost, unnamed} {
		if _, ok := s.Has(d); ok {
			t.Error("a blob that the power cut took is still believed in")
		}
	}
	if _, err := os.Stat(earlier); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the marks of the earlier boot are still there: %v", err)
	}
}

// marked tells whether the store knows that a power cut may take a blob.
func marked(s *Store, d digest.Digest) bool {
	_, err := os.Stat(s.markPath(d))
	return err == nil
}

func TestBlobsAreMarkedUntilTheyAreSynced(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	d, err := s.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if !marked(s, d) {
		t.Error("a fresh blob is not marked")
	}
	if _, err := open(t, root).ReadBlob(d, 100); err != nil {
		t.Errorf("another process does not see it: %v", err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if marked(s, d) {
		t.Error("a synced blob is marked")
	}
}

func TestTwoReceiveOneBlob(t *testing.T) {
	root := t.TempDir()
	d := digest.FromString("content")
	var all []*Incoming
	for range 2 {
		in, err := open(t, root).Incoming(t.Context(), d, 7)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte("cont")); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	for _, in := range all {
		if _, err := in.Write([]byte("ent")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(in.Commit(), in.Close()); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(root, "partial"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestCutDownloadIsKeptAndPruned(t *testing.T) {
	s := open(t, t.TempDir())
	d := digest.FromString("content")
	receive := func(ctx context.Context) *Incoming {
		in, err := s.Incoming(ctx, d, 7)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	in := receive(t.Context())
	if _, err := in.Write([]byte("cont")); err != nil {
		t.Fatal(err)
	}
	var size *SizeError
	if _, err := in.Write([]byte("ents")); !errors.As(err, &size) {
		t.Errorf("more than announced: error is %v, want *SizeError", err)
	}
	if err := in.Commit(); !errors.As(err, &size) {
		t.Errorf("too short: error is %v, want *SizeError", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	again := receive(t.Context())
	if again.Offset() != 4 {
		t.Errorf("goes on at %d, want 4", again.Offset())
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	freed, err := s.Prune()
	if err != nil || freed != 4 {
		t.Errorf("Prune freed %d: %v, want 4 bytes", freed, err)
	}
	if last := receive(t.Context()); last.Offset() != 0 {
		t.Errorf("goes on at %d after Prune, want 0", last.Offset())
	}
}

func TestWalkTakesTheWantedPlatforms(t *testing.T) {
	s := open(t, t.TempDir())
	var index v1.Index
	for _, arch := range []string{"amd64", "arm64"} {
		d := addImage(t, s, arch)
		d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.PutBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	root := v1.Descriptor{Digest: d}
	for _, tc := range []struct {
		platforms []string
		blobs     int // 0: incomplete
	}{
		{nil, 7}, {[]string{"linux/amd64"}, 4}, {[]string{"linux/arm64", "linux/amd64"}, 7}, {[]string{"linux/s390x"}, 0},
	} {
		blobs, err := s.Walk(root, tc.platforms...)
		if tc.blobs == 0 && !errors.Is(err, ErrIncomplete) || tc.blobs > 0 && err != nil {
			t.Errorf("%v: error is %v", tc.platforms, err)
		}
		if diff := cmp.Diff(tc.blobs, len(blobs)); diff != "" {
			t.Errorf("%v: blobs (-want +got):\n%s", tc.platforms, diff)
		}
	}
}

func TestDeferredBlobsSettleLater(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	s.Defer()
	d := addImage(t, s, "layer")
	if err := s.Save(Record{Name: "app:v1", Manifest: d}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !marked(s, d.Digest) {
		t.Error("what was not waited for is not marked")
	}
	next := open(t, root)
	if _, err := next.Walk(d); err != nil {
		t.Errorf("the next process does not have all of it: %v", err)
	}
	old := time.Now().Add(-settled)
	if err := os.Chtimes(s.markPath(d.Digest), old, old); err != nil {
		t.Fatal(err)
	}
	if marked(open(t, root), d.Digest) {
		t.Error("the mark stays for ever")
	}
}
