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

	"github.com/sealbuild/sealbuild/installer/agent"
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

// share is put for a file that everybody may read.
func (t tree) share(name, text string) error {
	if err := t.put(name, text); err != nil {
		return err
	}
	return os.Chmod(t.path(name), 0o644)
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

// programs are the versions of the programs that run on a machine, as they were when they were started.
type programs struct{ kubelet, containerd string }

// binDir is where scripts install programs.
const binDir = "/usr/bin/"

// installed is the version of a program in binDir, which is the one that runs once it is started again.
func installed(m *Machine, program string) string {
	return programVersion(m.tree.text(binDir + program))
}

// programVersion is the version of a program that is called by a path or by its name.
func (c *call) programVersion(argv0 string) string {
	if !path.IsAbs(argv0) {
		argv0 = binDir + argv0
	}
	return programVersion(c.tree.text(argv0))
}

// install does what the scripts init-cri, init and prepare of a rootfs of [Kubernetes] do, file by file and image by image.
func (c *call) install(name string, q agent.ScriptRequest) error {
	rootfs := path.Dir(q.Dir)
	master := strings.Contains(q.Env["SEALOS_SYS_RUN_MODE"], "master")
	if name == "prepare.sh" {
		return c.pull(rootfs, master, false)
	}
	dir, ok := map[string]string{"init-cri.sh": "cri", "init.sh": "bin"}[name]
	if !ok || !c.tree.has(rootfs+"/bin/kubelet") {
		return nil
	}
	for _, program := range names(c.tree, path.Join(rootfs, dir)) {
		from := c.tree.text(path.Join(rootfs, dir, program))
		if c.tree.text(binDir+program) == from {
			continue
		}
		err := c.step("script installs: "+program, func(_ *Site, m *Machine) error {
			return m.tree.put(binDir+program, from)
		})
		if err != nil {
			return err
		}
	}
	if name == "init-cri.sh" {
		return c.step("script starts: containerd", func(_ *Site, m *Machine) error {
			m.programs.containerd = installed(m, "containerd")
			if m.images == nil {
				m.images = map[string]bool{}
			}
			return nil
		})
	}
	return c.pull(rootfs, master, true)
}

// pull gets the images that the rootfs lists, and pins them; no others, if it is alone.
func (c *call) pull(rootfs string, master, alone bool) error {
	var wanted []string
	for line := range strings.Lines(c.tree.text(path.Join(rootfs, imageList))) {
		image := strings.TrimSpace(line)
		if master || slices.ContainsFunc([]string{"pause:", "kube-proxy:", "coredns:"}, func(n string) bool { return strings.Contains(image, "/"+n) }) {
			wanted = append(wanted, image)
		}
	}
	for _, image := range wanted {
		if c.pinned(image) {
			continue
		}
		err := c.step("script pulls: "+image, func(_ *Site, m *Machine) error {
			if !obtain(m, image) {
				return &os.PathError{Op: "pull", Path: image, Err: os.ErrNotExist}
			}
			m.images[image] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !alone {
		return nil
	}
	return c.quietly(func(_ *Site, m *Machine) error {
		for image := range m.images {
			m.images[image] = slices.Contains(wanted, image)
		}
		return nil
	})
}

func (c *call) pinned(image string) (pinned bool) {
	_ = c.quietly(func(_ *Site, m *Machine) error {
		pinned = m.images[image]
		return nil
	})
	return pinned
}

// uninstall takes away what the scripts of a rootfs have installed.
func uninstall(m *Machine, rootfs string) error {
	m.images, m.programs, m.proxyImage = nil, programs{}, ""
	for _, dir := range []string{"bin", "cri"} {
		for _, program := range names(m.tree, path.Join(rootfs, dir)) {
			if err := m.tree.remove(binDir + program); err != nil {
				return err
			}
		}
	}
	return nil
}

// names lists what is in a directory.
func names(t tree, dir string) (list []string) {
	found, _ := filepath.Glob(t.path(path.Join(dir, "*")))
	for _, name := range found {
		list = append(list, path.Base(name))
	}
	return list
}

// memo is what a site knows of its machines while nothing happens: what runs on them follows from many files, and one question to
// the API asks for it a hundred times.
type memo map[fact]bool

type fact struct {
	kind string
	m    *Machine
}

// remembering lets a site remember what runs, until the function that it returns is called. Nothing may happen meanwhile by which
// that changes. The site is locked.
func (s *Site) remembering() (end func()) {
	if s.memo != nil {
		return func() {}
	}
	s.memo = memo{}
	return func() { s.memo = nil }
}

// recall gives what a site remembers of a machine, or finds it out.
func recall(s *Site, kind string, m *Machine, find func() bool) bool {
	if s.memo == nil {
		return find()
	}
	if is, known := s.memo[fact{kind, m}]; known {
		return is
	}
	is := find()
	if s.memo != nil {
		s.memo[fact{kind, m}] = is
	}
	return is
}
