package layers_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
)

func TestFilesOfProgramDirectoriesMayBeRun(t *testing.T) {
	layer := layers.Archive(t, layers.Entry{Name: "bin/tool", Mode: 0o644}, layers.Entry{Name: "binary", Mode: 0o600}, layers.Entry{Name: "scripts/sub/x.sh", Mode: 0o640})
	for _, c := range []struct {
		executable []string
		want       map[string]os.FileMode
	}{
		{nil, map[string]os.FileMode{"bin/tool": 0o644, "binary": 0o600, "scripts/sub/x.sh": 0o640}},
		{[]string{"bin", "scripts"}, map[string]os.FileMode{"bin/tool": 0o755, "binary": 0o600, "scripts/sub/x.sh": 0o755}},
		{[]string{"."}, map[string]os.FileMode{"bin/tool": 0o755, "binary": 0o755, "scripts/sub/x.sh": 0o755}},
	} {
		dir := t.TempDir()
		req := agent.UnpackRequest{Dir: dir, Digest: digest.FromBytes(layer), Format: "tar", Executable: c.executable}
		if err := agenttest.Local(t).Unpack(t.Context(), req, bytes.NewReader(layer)); err != nil {
			t.Fatal(err)
		}
		for name, want := range c.want {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%v: %s: %v, %v; want %v", c.executable, name, info.Mode(), err, want)
			}
		}
	}
}
