package stepstest

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

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
