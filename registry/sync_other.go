//go:build unix && !linux

package registry

import "golang.org/x/sys/unix"

// syncFilesystem makes every rename so far durable; without syncfs that means all filesystems.
func syncFilesystem(string) error {
	return unix.Sync()
}
