package stepstest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is the directory of a machine's files. When the machine crashes, it goes on with a copy.
type tree string

func (t tree) path(name string) string { return filepath.Join(string(t), name) }

func (t tree) put(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(t.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(t.path(name), []byte(text), 0o600)
}

func (t tree) has(name string) bool {
	_, err := os.Lstat(t.path(name))
	return err == nil
}

func (t tree) text(name string) string {
	b, err := os.ReadFile(t.path(name))
	if err != nil {
		return ""
	}
	return string(b)
}

// mkdir is mkdir -p; the mode is 0700 if that is among the arguments.
func (t tree) mkdir(name string, args []string) error {
	if err := os.MkdirAll(t.path(name), 0o755); err != nil || !slices.Contains(args, "0700") {
		return err
	}
	return os.Chmod(t.path(name), 0o700)
}

// remove removes files and what directories hold.
func (t tree) remove(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.RemoveAll(t.path(name)))
	}
	return errors.Join(errs...)
}

// wipe empties a directory, as kubeadm reset does.
func (t tree) wipe(dir string) error {
	entries, err := os.ReadDir(t.path(dir))
	if err != nil {
		return nil // it is not there
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(t.path(path.Join(dir, e.Name()))))
	}
	return errors.Join(errs...)
}

func (t tree) empty(dir string) bool {
	entries, err := os.ReadDir(t.path(dir))
	return err != nil || len(entries) == 0
}

// emptyRun is what a boot does to /run: it holds nothing but what says that systemd runs.
func (t tree) emptyRun() error {
	return errors.Join(t.remove("/run"), t.mkdir("/run/systemd/system", nil))
}

// moveAway moves what a directory holds to another one.
func (t tree) moveAway(dir, to string) error {
	if err := errors.Join(os.MkdirAll(filepath.Dir(t.path(to)), 0o755), os.Rename(t.path(dir), t.path(to))); err != nil {
		return err
	}
	return os.MkdirAll(t.path(dir), 0o755)
}

// copyTree copies directories, files and links with their modes. What vanishes meanwhile is left out.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = copyEntry(filepath.Join(to, strings.TrimPrefix(name, from)), name, d)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func copyEntry(to, from string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		// One that its owner cannot write into is not among those that machines of tests have.
		return errors.Join(os.MkdirAll(to, 0o755), os.Chmod(to, info.Mode().Perm()))
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, info.Mode().Perm()), os.Chmod(to, info.Mode().Perm()))
}

// Tree lists what is below a directory: each name with its kind, its mode and the beginning of its content's digest.
func Tree(dir string) (map[string]string, error) {
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		short := strings.TrimPrefix(name, dir)
		switch {
		case d.IsDir():
			tree[short+"/"] = info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			tree[short] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(name)
			tree[short] = fmt.Sprintf("%s %.12x", info.Mode(), sha256.Sum256(data))
			return err
		}
		return nil
	})
	return tree, err
}
