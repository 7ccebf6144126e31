package registry

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem makes every rename and every small file written so far below dir durable. File contents that must
// not be lost unnoticed are fsynced one by one before, since older kernels do not report errors here.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync store %s: %w", dir, err)
	}
	return nil
}
