// Package oldpackage makes a build context of an offline package of the kind that came before cluster images: programs in bin/,
// archives of container images in images/, scripts in shell/, configuration in conf/ and a container runtime, and no Kubefile.
//
// What is made is a Kubefile, which a build takes as it takes any other. What the package's own scripts read stays where they
// look for it, what the installer reads goes where it looks, and what the scripts lack comes from the kubernetes image: the
// registry of a site, the check, the way back. The package is only read. Nothing of it is left out in silence: what has no
// meaning any more is told by name, and what stands in the way of an installation is a problem.
package oldpackage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/kubefile"
)

// Name is what the Kubefile is called that is made of a package.
const Name = "Kubefile of an older package"

// Made is what becomes of a package.
type Made struct {
	Dir      string   // where its bin/ and shell/ lie
	Within   string   // Dir as a part of the context that was given: "" or "kube"
	Kubefile string   // the file made of it
	Text     []byte   // what is in it
	Notes    []string // what has no meaning any more, and what is changed
	Problems []string // what stands in the way of installing it
	arch     string   // of its programs; empty where they do not tell
}

// Find tells whether dir is such a package, and where in it the package's files lie: there or in kube/, as packages unpack.
func Find(dir string) (at string, ok bool) {
	if _, err := kubefile.Find(os.DirFS(dir)); !errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	for _, sub := range []string{".", "kube"} {
		at := filepath.Join(dir, sub)
		scripts, _ := filepath.Glob(filepath.Join(at, "shell", "*.sh"))
		images, _ := filepath.Glob(filepath.Join(at, "images", "*.tar*"))
		programs, _ := filepath.Glob(filepath.Join(at, "bin", "kube*"))
		if len(scripts) > 0 && len(images)+len(programs) > 0 {
			return at, true
		}
	}
	return "", false
}

// Make writes the Kubefile of a package into scratch. dir may also be the packed package. It is nil without an error if dir is
// something else.
func Make(ctx context.Context, dir, scratch string, sys *types.SystemContext) (*Made, error) {
	packed, err := unpack(ctx, dir, filepath.Join(scratch, "unpacked"))
	if err != nil {
		return nil, err
	}
	if packed {
		dir = filepath.Join(scratch, "unpacked")
	}
	at, ok := Find(dir)
	if !ok {
		return nil, nil
	}
	within, err := filepath.Rel(dir, at)
	if err != nil {
		return nil, err
	}
	p := &reader{ctx: ctx, dir: at, sys: sys, lost: map[string]string{}}
	if err := p.read(); err != nil {
		return nil, fmt.Errorf("read the offline package %s: %w", at, err)
	}
	m := &Made{
		Dir: at, Within: strings.TrimPrefix(within, "."), Kubefile: filepath.Join(scratch, Name),
		Text: p.kubefile(), Notes: p.notes, Problems: p.problems, arch: p.arch,
	}
	if err := os.WriteFile(m.Kubefile, m.Text, 0o644); err != nil {
		return nil, err
	}
	return m, nil
}

// For gives what stands in the way of installing the package on hosts of the platforms.
func (m *Made) For(platforms []v1.Platform) []string {
	problems := slices.Clone(m.Problems)
	if m.arch != "" && slices.ContainsFunc(platforms, func(p v1.Platform) bool { return p.Architecture != m.arch }) {
		problems = append(problems, fmt.Sprintf("bin/kubelet of the package is for %s alone: build with --platform linux/%s", m.arch, m.arch))
	}
	return problems
}

// Excluded rewrites paths of the context that was given, in .dockerignore syntax, for the directory that is built.
func (m *Made) Excluded(paths []string) []string {
	if m.Within == "" {
		return paths
	}
	var all []string
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, m.Within+"/"); ok {
			all = append(all, rest)
		}
	}
	return all
}

// reader reads a package, and keeps what is to be made of it.
type reader struct {
	ctx context.Context
	dir string
	sys *types.SystemContext

	version, cgroupDriver, arch string

	copied    []string          // directories and files that are copied as they are
	scripts   []script          // shell/*.sh
	config    string            // conf/kubeadm.yaml as the installer takes it
	runtime   []string          // files that the container runtime puts on a host
	images    []string          // of Kubernetes
	lost      map[string]string // what is not carried, and why
	notes     []string
	problems  []string
	hasDocker bool // it brings Docker
	hasCRI    bool // it brings containerd
}

func (p *reader) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

func (p *reader) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *reader) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

// maxText bounds the scripts and documents that are looked at, in bytes: the Kubefile holds those that are changed.
const maxText = 128 << 10

// text reads a file of the package; false if there is none, or none to be read, which is told.
func (p *reader) text(name string) (string, bool) {
	f, err := os.Open(p.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		p.note("%s is not read: %v", name, err)
		return "", false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		p.note("%s is not read: %v", name, err)
	case len(text) > maxText:
		p.note("%s is larger than %d KiB, and not looked at", name, maxText>>10)
	default:
		return string(text), true
	}
	return "", false
}

// read looks at everything, in the order in which one thing tells about the next.
func (p *reader) read() error {
	if err := p.readScripts(); err != nil {
		return err
	}
	if err := p.readRuntime(); err != nil {
		return err
	}
	p.readKubeadm()
	if err := p.readImages(); err != nil {
		return err
	}
	p.readVersion()
	p.arch = architecture(p.path("bin/kubelet"))
	for _, name := range []string{"kubeadm", "kubelet", "kubectl"} {
		if _, err := os.Stat(p.path("bin/" + name)); err != nil {
			p.problem("bin/%s is missing: put that of Kubernetes %s there", name, p.version)
		}
	}
	if err := p.readRest(); err != nil {
		return err
	}
	p.quieten()
	return nil
}

// readRest says of every entry of the package whether it is carried.
func (p *reader) readRest() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		reason, lost := p.lost[name]
		switch {
		case strings.HasPrefix(name, "."), name == "images", slices.Contains(p.copied, name):
		case lost:
			p.note("%s is left out: %s", slashed(e), reason)
		case slices.Contains([]string{"bin", "conf", "shell", "registry"}, name), p.named(name):
			p.copied = append(p.copied, name)
		default:
			p.note("%s is left out: nothing in shell/ names it", slashed(e))
		}
	}
	if _, err := os.Stat(p.path("images/shim")); err == nil {
		p.copied = append(p.copied, "images/shim")
	}
	rest, _ := os.ReadDir(p.path("images"))
	for _, e := range rest {
		if !e.IsDir() && !archived(e.Name()) {
			p.note("images/%s is left out: only archives of images have a meaning there", e.Name())
		}
	}
	if _, err := os.Stat(p.path("bin/sealos")); err == nil {
		p.note("bin/sealos comes onto the hosts, and nothing uses it: sealinstall makes the cluster")
	}
	return nil
}

func slashed(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// archived tells whether a file of images/ is looked at as an archive of images.
func archived(name string) bool {
	return slices.ContainsFunc([]string{".tar", ".tar.gz", ".tgz"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// base is the file name of a path of a package.
func base(name string) string { return path.Base(filepath.ToSlash(name)) }
