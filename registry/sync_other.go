//go:build unix && !linux

package registry

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem makes every rename so far durable; without syncfs that means all filesystems.
func syncFilesystem(string) error {
	return unix.Sync()
}

// writtenBack makes a file's content durable, and returns the error if that fails.
func writtenBack(f *os.File) error { return f.Sync() }
