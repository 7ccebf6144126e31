// Package files makes, reads and removes the files of a host for the verbs: single files, the lines of
// /etc/hosts, directories of data, and the versions of the stub itself.
package files

import (
	"os"
	"path/filepath"
	"strings"
)

// Machine is the files of a host. All names are as the host has them: absolute, without Root.
type Machine struct {
	Root string // empty but in tests
	Disk Disk
}

// At is the machine whose files lie below a directory; empty is this host.
func At(root string) Machine { return Machine{root, disk{}} }

// Disk carries out changes of files. Tests have one of their own, which sees every change and can end a verb between any two.
type Disk interface {
	// Put carries out a change that makes or replaces a file or directory.
	Put(name string, change func() error) error
	// Staged is called in a Put that replaces a file, when the new file is there under a temporary name.
	Staged(name string) error
	// Remove carries out a change that removes a file or directory.
	Remove(name string, change func() error) error
	// RemoveAll removes a path, Root included, with all it holds.
	RemoveAll(path string) error
}

type disk struct{}

func (disk) Put(_ string, change func() error) error    { return change() }
func (disk) Staged(string) error                        { return nil }
func (disk) Remove(_ string, change func() error) error { return change() }
func (disk) RemoveAll(path string) error                { return os.RemoveAll(path) }

// Path is the path of a file for this process.
func (m Machine) Path(name string) string { return m.Root + name }

// RemoveAll removes a file or directory with all it holds.
func (m Machine) RemoveAll(name string) error { return m.Disk.RemoveAll(m.Path(name)) }

// Text reads a small file; empty if that fails.
func (m Machine) Text(name string) string {
	text, err := ReadRegular(m.Path(name), maxHosts)
	if err != nil {
		return ""
	}
	return string(text)
}

// Line reads the first line of a small file.
func (m Machine) Line(name string) string {
	first, _, _ := strings.Cut(m.Text(name), "\n")
	return strings.TrimSpace(first)
}

// Lines reads the lines of a small file that are not empty.
func (m Machine) Lines(name string) []string {
	return strings.FieldsFunc(m.Text(name), func(r rune) bool { return r == '\n' })
}

// Exists tells whether a name exists; a dangling link does.
func (m Machine) Exists(name string) bool {
	_, err := os.Lstat(m.Path(name))
	return err == nil
}

// Glob names what matches a pattern of path.Match.
func (m Machine) Glob(pattern string) []string {
	found, _ := filepath.Glob(m.Path(pattern))
	for i, name := range found {
		found[i] = strings.TrimPrefix(name, m.Root)
	}
	return found
}
