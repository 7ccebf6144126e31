package installer

import (
	"os"
	"testing"
)

// Another user of the machine finds neither keys nor logs, whatever the umask.
func TestTheClustersDirectoryIsItsOwnersAlone(t *testing.T) {
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	s, err := OpenState("c")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Stat(s.Path("."))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
}
