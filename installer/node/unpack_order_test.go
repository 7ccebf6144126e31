package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
)

func TestALayerIsAppliedAgainWhenItLiesUponOthers(t *testing.T) {
	dir := t.TempDir()
	a, b, c := archive(t, entry{Name: "x", Body: "a"}), archive(t, entry{Name: "x", Body: "b"}), archive(t, entry{Name: "x", Body: "c"})
	unpack := func(after digest.Digest, layer []byte) (read bool) {
		t.Helper()
		req := UnpackRequest{Dir: dir, Digest: digest.FromBytes(layer), Format: "tar", After: after}
		err := localAgent(t).Unpack(t.Context(), req, iotest.ErrReader(errors.New("wanted")))
		if err == nil {
			return false
		}
		if err := localAgent(t).Unpack(t.Context(), req, bytes.NewReader(layer)); err != nil {
			t.Fatal(err)
		}
		return true
	}
	first := digest.FromString("first")
	for _, step := range []struct {
		after digest.Digest
		layer []byte
		read  bool
		want  string
	}{
		{"", a, true, "a"}, {first, b, true, "b"}, // the first time
		{"", a, false, "b"}, {first, b, false, "b"}, // the second: nothing flips
		{"", c, true, "c"}, {digest.FromString("other"), b, true, "b"}, // another layer below
	} {
		if read := unpack(step.after, step.layer); read != step.read {
			t.Errorf("%+v: read %t", step, read)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(got) != step.want {
			t.Errorf("%+v: x is %q, %v", step, got, err)
		}
	}
}

func TestFilesOfProgramDirectoriesMayBeRun(t *testing.T) {
	layer := archive(t, entry{Name: "bin/tool", Mode: 0o644}, entry{Name: "binary", Mode: 0o600}, entry{Name: "scripts/sub/x.sh", Mode: 0o640})
	for _, c := range []struct {
		executable []string
		want       map[string]os.FileMode
	}{
		{nil, map[string]os.FileMode{"bin/tool": 0o644, "binary": 0o600, "scripts/sub/x.sh": 0o640}},
		{[]string{"bin", "scripts"}, map[string]os.FileMode{"bin/tool": 0o755, "binary": 0o600, "scripts/sub/x.sh": 0o755}},
		{[]string{"."}, map[string]os.FileMode{"bin/tool": 0o755, "binary": 0o755, "scripts/sub/x.sh": 0o755}},
	} {
		dir := t.TempDir()
		req := UnpackRequest{Dir: dir, Digest: digest.FromBytes(layer), Format: "tar", Executable: c.executable}
		if err := localAgent(t).Unpack(t.Context(), req, bytes.NewReader(layer)); err != nil {
			t.Fatal(err)
		}
		for name, want := range c.want {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%v: %s: %v, %v; want %v", c.executable, name, info.Mode(), err, want)
			}
		}
	}
}
