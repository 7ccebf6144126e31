package files_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/test/detector"
)

func TestFilesAreWrittenOnceAndReadBack(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		dir := t.TempDir()
		one, two := filepath.Join(dir, "a/b/one"), filepath.Join(dir, "two")
		big := bytes.Repeat([]byte("0123456789abcdef"), 6<<16)
		if detector.On { // JSON is slow under it
			big = big[:1<<20]
		}
		files := []agent.File{{Path: one, Mode: 0o600, Content: []byte("secret")}, {Path: two, Content: big}}
		for i, want := range [][]string{{one, two}, nil} {
			changed, err := a.WriteFiles(t.Context(), files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, changed); diff != "" {
				t.Errorf("call %d: %s", i, diff)
			}
		}
		got, err := a.ReadFiles(t.Context(), []string{one, two, filepath.Join(dir, "none"), filepath.Join(two, "below a file")})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || string(got[one]) != "secret" || !bytes.Equal(got[two], big) {
			t.Errorf("%d files, %q", len(got), got[one])
		}
		changed, err := a.WriteFiles(t.Context(), []agent.File{{Path: one, Mode: 0o640, Content: []byte("secret")}, {Path: two, Remove: true}, {Path: two, Remove: true}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{one, two}, changed); diff != "" {
			t.Error(diff)
		}
		if info, err := os.Stat(one); err != nil || info.Mode() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	})
}
