package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sealosRootfs is the source of a rootfs image in the layout of images made for sealos.
const sealosRootfs = "test/scenario/testdata/sealos"

// sealosImages builds that image as such images are built, and bundles it with
// applications that know nothing of it.
func (b *Built) sealosImages(ctx context.Context, s *story) error {
	if err := b.fetch(ctx, s, "helm"); err != nil {
		return err
	}
	s.heading("a rootfs as images for sealos are laid out")
	c := sealosContext{dir: b.work.path("sealos-rootfs"), upstream: b.Upstream}
	if err := c.make(ctx, filepath.Join(b.Root, sealosRootfs)); err != nil {
		return fmt.Errorf("lay out the rootfs: %w", err)
	}
	s.heading("sealbuild: the cluster images")
	rootfs := "kubernetes-for-sealos:" + c.version
	for _, args := range [][]string{
		{"-t", rootfs, "--label", "version=" + c.version, "--env", "defaultVIP=10.103.97.2", "--env", "sandboxImage=" + c.pause, "-o", "none", c.dir},
		{"-t", "flannel:v0.28.4", "-o", "none", b.dir("flannel")},
		{"-t", "helm:v3.18.4", "-o", "none", b.dir("helm")},
	} {
		if err := b.seal(ctx, s, args...); err != nil {
			return err
		}
	}
	b.Bundle = b.work.path("sealinstall-sealos")
	s.heading("sealbuild: one file for the site")
	return b.seal(ctx, s, "-t", "example:latest",
		"--with", rootfs, "--with", "flannel:v0.28.4", "--with", "helm:v3.18.4", "-o", b.Bundle, b.dir("example"))
}

// sealosContext is the directory that is built.
type sealosContext struct {
	dir, upstream  string
	version, pause string // v1.36.3, pause:3.10.2
}

// make puts the programs beside the files of source.
func (c *sealosContext) make(ctx context.Context, source string) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if err := os.CopyFS(c.dir, os.DirFS(source)); err != nil {
		return err
	}
	if err := linkAll(filepath.Join(c.dir, "bin"), c.piece("bin/kubeadm"), c.piece("bin/kubelet"), c.piece("bin/kubectl"), c.piece("sealos/crictl")); err != nil {
		return err
	}
	if err := linkAll(filepath.Join(c.dir, "cri"), c.piece("sealos/registry"), c.piece("sealos/image-cri-shim")); err != nil {
		return err
	}
	return errors.Join(c.archiveRuntime(ctx, filepath.Join(c.dir, "cri/cri-containerd.tar.gz"), map[string]string{"cri/*": "usr/bin", "cni/*": "opt/cni/bin"}, ""),
		c.listImages(ctx))
}

func (c *sealosContext) piece(name string) string { return filepath.Join(c.upstream, name) }

func linkAll(dir string, files ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Link(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

// archiveRuntime packs containerd and what belongs to it: pieces, each kind with the path that it has in the archive, and a unit
// if there is one.
func (c *sealosContext) archiveRuntime(ctx context.Context, archive string, pieces map[string]string, unit string) (err error) {
	tree := c.dir + "-cri"
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	for from, to := range pieces {
		files, err := filepath.Glob(c.piece(from))
		if err != nil {
			return err
		}
		if err := linkAll(filepath.Join(tree, to), files...); err != nil {
			return err
		}
	}
	if unit != "" {
		if err := linkAll(filepath.Join(tree, "etc/systemd/system"), unit); err != nil {
			return err
		}
	}
	top, err := filepath.Glob(tree + "/*")
	if err != nil {
		return err
	}
	// The same input gives the same archive, so that sealbuild finds the image made.
	argv := []string{
		"tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner",
		"--use-compress-program=gzip --no-name --fast", "-cf", archive,
	}
	for _, t := range top {
		argv = append(argv, filepath.Base(t))
	}
	return command(ctx, os.Stderr, tree, nil, argv...)
}

// askKubeadm asks for the version and the images of Kubernetes.
func (c *sealosContext) askKubeadm(ctx context.Context) (images string, err error) {
	kubeadm := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, c.piece("bin/kubeadm"), args...).Output()
		if err != nil {
			return "", fmt.Errorf("kubeadm %s: %w", strings.Join(args, " "), err)
		}
		return string(bytes.TrimSpace(out)), nil
	}
	if c.version, err = kubeadm("version", "-o", "short"); err != nil {
		return "", err
	}
	if images, err = kubeadm("config", "images", "list", "--kubernetes-version", c.version); err != nil {
		return "", err
	}
	for line := range strings.FieldsSeq(images) {
		if _, tag, ok := strings.Cut(line, "/pause:"); ok {
			c.pause = "pause:" + tag
		}
	}
	return images, nil
}

// listImages writes the list from which the images of Kubernetes are gathered.
func (c *sealosContext) listImages(ctx context.Context) error {
	list, err := c.askKubeadm(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "images/shim/DefaultImageList"), []byte(list+"\n"), 0o644)
}

// containerdVersion asks the containerd of a set of pieces.
func containerdVersion(ctx context.Context, pieces string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(pieces, "cri/containerd"), "--version").Output()
	if f := strings.Fields(string(out)); err == nil && len(f) >= 3 {
		return f[2], nil
	}
	return "", fmt.Errorf("containerd --version: %w: %q", err, out)
}
