package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// oldPackageSource is what an offline package of the older kind has beside its binary files.
const oldPackageSource = "test/scenario/testdata/oldpackage"

// OldPackage installs a cluster image that sealbuild makes of an offline package of the older kind: its own scripts make the hosts
// ready, its images come from the registry, and its kubeadm configuration counts. The promises are those of Install, also that
// reset leaves nothing.
func OldPackage(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := makeAndOpen(ctx, st, recipe{images: (*Built).oldPackage}, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	figures, err := site.firstRun(ctx, st)
	if err != nil {
		return err
	}
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	if err := packageDecides(ctx, st, site); err != nil {
		return err
	}
	if err := site.exampleAnswers(ctx, st); err != nil {
		return err
	}
	if err := site.secondRun(ctx, st, &figures); err != nil {
		return err
	}
	if err := site.nothingEscaped(ctx, st); err != nil {
		return err
	}
	figures.print(st)
	return site.resetLeavesNothing(ctx, st, before)
}

// packageDecides looks for what only the package can have brought: the name in the API server's certificate that its kubeadm
// configuration wants, and the runtime where its scripts put it.
func packageDecides(ctx context.Context, st *story, s *Site) error {
	st.heading("what the package says holds")
	for _, h := range s.Hosts {
		res, err := h.Exec(ctx, "systemctl", "show", "--property", "ExecStart", "containerd", "kubelet")
		if err != nil {
			return err
		}
		for _, program := range []string{"path=/usr/local/bin/containerd ", "path=/usr/bin/kubelet "} {
			if !strings.Contains(res.Stdout, program) {
				return fmt.Errorf("%s does not run what the package installs, %s:\n%s", h.Name, program, res.Stdout)
			}
		}
	}
	config, err := s.kubectl(ctx, "get", "configmap", "-n", "kube-system", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
	if err != nil {
		return err
	}
	const name = "old.package.example"
	if !strings.Contains(config, name) {
		return fmt.Errorf("kubeadm was not told of %s, which conf/kubeadm.yaml of the package wants:\n%s", name, config)
	}
	st.say("containerd and kubelet are the package's; kubeadm knows %s", name)
	return nil
}

// oldPackage lays the package out, packs it as such packages were handed on, and bundles it with applications that know nothing
// of it.
func (b *Built) oldPackage(ctx context.Context, s *story) error {
	if err := b.fetch(ctx, s, "helm"); err != nil {
		return err
	}
	s.heading("an offline package of the older kind")
	c := sealosContext{dir: b.work.path("old/kube"), upstream: b.Upstream}
	if err := layOutOldPackage(ctx, &c, filepath.Join(b.Root, oldPackageSource)); err != nil {
		return fmt.Errorf("lay out the package: %w", err)
	}
	packed := b.work.path("old/kube.tar.gz")
	if err := command(ctx, s.out, filepath.Dir(c.dir), nil, "tar", "--use-compress-program=gzip --no-name --fast", "-cf", packed, "kube"); err != nil {
		return err
	}
	s.heading("sealbuild: the cluster images")
	rootfs := "kubernetes-of-a-package:" + c.version
	if err := b.seal(ctx, s, "plan", c.dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-t", rootfs, "-o", "none", packed},
		{"-t", "flannel:v0.28.4", "-o", "none", b.dir("flannel")},
		{"-t", "helm:v3.18.4", "-o", "none", b.dir("helm")},
	} {
		if err := b.seal(ctx, s, args...); err != nil {
			return err
		}
	}
	b.Bundle = b.work.path("sealinstall-old")
	s.heading("sealbuild: one file for the site")
	return b.seal(ctx, s, "-t", "example:latest",
		"--with", rootfs, "--with", "flannel:v0.28.4", "--with", "helm:v3.18.4", "-o", b.Bundle, b.dir("example"))
}

// layOutOldPackage puts the binary files beside those of source, and writes the version into them.
func layOutOldPackage(ctx context.Context, c *sealosContext, source string) error {
	if err := os.CopyFS(c.dir, os.DirFS(source)); err != nil {
		return err
	}
	if _, err := c.askKubeadm(ctx); err != nil {
		return err
	}
	for _, name := range []string{"Metadata", "conf/kubeadm.yaml"} {
		file := filepath.Join(c.dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "VERSION", c.version)), 0o644); err != nil {
			return err
		}
	}
	if err := linkAll(filepath.Join(c.dir, "bin"), c.piece("bin/kubeadm"), c.piece("bin/kubelet"), c.piece("bin/kubectl"), c.piece("sealos/crictl")); err != nil {
		return err
	}
	packed := filepath.Join(c.dir, "docker/containerd.tar.gz")
	if err := os.Mkdir(filepath.Dir(packed), 0o755); err != nil {
		return err
	}
	unit := filepath.Join(c.dir, "conf/containerd.service")
	if err := c.archiveRuntime(ctx, packed, map[string]string{"cri/*": "usr/local/bin", "cni/*": "opt/cni/bin"}, unit); err != nil {
		return err
	}
	return errors.Join(os.Remove(unit), saveImages(ctx, c.piece("images"), filepath.Join(c.dir, "images/images.tar")))
}

// saveImages writes images of an OCI layout, those of Kubernetes itself, as `docker save` does.
func saveImages(ctx context.Context, layout, archive string) error {
	read := func(name string, v any) error {
		raw, err := os.ReadFile(filepath.Join(layout, name))
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, v)
	}
	blob := func(d v1.Descriptor) string { return "blobs/sha256/" + d.Digest.Encoded() }
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var index v1.Index
	if err := read("index.json", &index); err != nil {
		return err
	}
	tree := archive + "-tree"
	if err := os.MkdirAll(filepath.Join(tree, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	link := func(name string) error {
		if err := os.Link(filepath.Join(layout, name), filepath.Join(tree, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	var all []saved
	for _, d := range index.Manifests {
		ref := d.Annotations[v1.AnnotationRefName]
		if !strings.HasPrefix(ref, "registry.k8s.io/") {
			continue
		}
		if d.MediaType == v1.MediaTypeImageIndex {
			var of v1.Index
			if err := read(blob(d), &of); err != nil {
				return err
			}
			for _, child := range of.Manifests {
				if child.Platform != nil && child.Platform.Architecture == runtime.GOARCH {
					d = child
					break
				}
			}
		}
		var m v1.Manifest
		if err := read(blob(d), &m); err != nil {
			return err
		}
		one := saved{Config: blob(m.Config), RepoTags: []string{ref}}
		err := link(one.Config)
		for _, l := range m.Layers {
			one.Layers = append(one.Layers, blob(l))
			err = errors.Join(err, link(blob(l)))
		}
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	manifest, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "manifest.json"), manifest, 0o644); err != nil {
		return err
	}
	return errors.Join(command(ctx, io.Discard, tree, nil, "tar", "-cf", archive, "manifest.json", "blobs"), os.RemoveAll(tree))
}
