package write

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOutputIsAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "old.run")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for output, fine := range map[string]bool{
		file: true, filepath.Join(dir, "new.run"): true, dir: false, "/dev/null": false,
		filepath.Join(dir, "missing", "new.run"): false, filepath.Join(file, "new.run"): false,
	} {
		if err := CheckOutput(output); (err == nil) != fine {
			t.Errorf("%s: %v", output, err)
		}
	}
}
