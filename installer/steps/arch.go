package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// machines are the architectures as uname -m and as images name them.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

// settleArch asks, where the bundle is for several architectures, the first
// master that is reached for its own: the cluster is described by its images of
// that one. Every other host gets those of its own, see [Run.settleHost]. A
// master that cannot be asked, or that the bundle is not for, is reported when
// all hosts are reached.
func (r *Run) settleArch(ctx context.Context) error {
	platforms := r.Bundle.Platforms()
	if r.hostArch != "" || len(platforms) < 2 {
		return nil
	}
	for _, t := range r.masters() {
		arch, reached, err := r.archOfMaster(ctx, t)
		if err != nil {
			return &installer.HostError{Host: t.IP.String(), Err: err}
		}
		if reached {
			r.hostArch = arch
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (r *Run) archOfMaster(ctx context.Context, t *Target) (arch string, reached bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	link, err := r.dial(ctx, t)
	if err != nil {
		return "", false, nil
	}
	arch, err = r.askArch(ctx, link)
	var unfit *preflight.Found
	var unusable *host.Error
	if errors.As(err, &unfit) || errors.As(err, &unusable) {
		err = nil
	}
	return arch, true, errors.Join(err, link.Close())
}

// askArch asks a host for its architecture, which the bundle must be for.
func (r *Run) askArch(ctx context.Context, link host.Host) (string, error) {
	var out bytes.Buffer
	if err := link.Run(ctx, host.Cmd{Argv: []string{"uname", "-m"}, Stdout: &out}); err != nil {
		return "", fmt.Errorf("ask for its architecture: %w", err)
	}
	machine := strings.TrimSpace(out.String())
	arch := machines[machine]
	if platforms := r.Bundle.Platforms(); !slices.Contains(platforms, "linux/"+arch) {
		return "", &preflight.Found{
			Check: "architecture", Message: fmt.Sprintf("the host is %s, the bundle is for %s", machine, strings.Join(platforms, ", ")),
			Remedy: "build the bundle with --platform for that architecture, too",
		}
	}
	return arch, nil
}

// settleHost asks a host for its architecture, before anything is brought there, and gives it the images of that, where the
// bundle is for several.
func (r *Run) settleHost(ctx context.Context, t *Target) (err error) {
	arch, err := r.askArch(ctx, t.Link)
	if err != nil || len(r.Bundle.Platforms()) < 2 {
		return err
	}
	if t.arch = arch; t.arch == r.hostArch {
		return nil
	}
	t.images, err = r.variants.of(t.arch, func() ([]*image, error) {
		images, err := r.imagesOfArch(t.arch)
		if err != nil {
			return nil, err
		}
		return images, r.readSmallFiles(ctx, images)
	})
	return err
}

// variants are the images of further architectures: read once for all hosts of one.
type variants struct {
	mu    sync.Mutex
	known map[string][]*image
}

func (v *variants) of(arch string, read func() ([]*image, error)) ([]*image, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if images, ok := v.known[arch]; ok {
		return images, nil
	}
	images, err := read()
	if err != nil {
		return nil, err
	}
	if v.known == nil {
		v.known = map[string][]*image{}
	}
	v.known[arch] = images
	return images, nil
}

// all lists every image read so far.
func (v *variants) all() []*image {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*image
	for _, images := range v.known {
		out = append(out, images...)
	}
	return out
}

// imagesOn are the cluster's images as a host has them: of its architecture, in the same order everywhere.
func (r *Run) imagesOn(t *Target) []*image {
	if t.images != nil {
		return t.images
	}
	return r.images
}

// archOn is the architecture that a host must have.
func (r *Run) archOn(t *Target) string {
	if t.arch != "" {
		return t.arch
	}
	return r.arch()
}

// stubs are the installers for the hosts: read once, compared with what the
// index says, and given out from memory. What runs as root on every host must be
// what was checked, whatever becomes of the file meanwhile.
type stubs struct {
	mu    sync.Mutex
	known map[string]stubFile // by architecture
}

type stubFile struct {
	data []byte
	path string // on hosts: versions lie beside each other
}

// stub gives the installer for hosts of an architecture.
func (r *Run) stub(arch string) (stubFile, error) {
	r.stubs.mu.Lock()
	defer r.stubs.mu.Unlock()
	stub, ok := r.stubs.known[arch]
	if !ok {
		data, err := r.readStub(arch)
		if err != nil {
			return stubFile{}, err
		}
		stub = stubFile{data: data, path: stubPath + "-" + digest.FromBytes(data).Encoded()[:12]}
		if r.stubs.known == nil {
			r.stubs.known = map[string]stubFile{}
		}
		r.stubs.known[arch] = stub
	}
	return stub, nil
}

func (r *Run) readStub(arch string) ([]byte, error) {
	want, _ := r.Bundle.StubInfo()
	stub := r.Bundle.Stub()
	if arch != "" {
		var err error
		if stub, err = r.Bundle.OpenStub("linux/" + arch); err != nil {
			return nil, err
		}
		want = r.Bundle.StubDigest("linux/" + arch)
	}
	if stub == nil || stub.Size() == 0 {
		return nil, errors.New("the bundle carries no installer to run on the hosts: build it with sealbuild")
	}
	data, err := io.ReadAll(stub)
	if err != nil {
		return nil, fmt.Errorf("read the installer for the hosts: %w", err)
	}
	if got := digest.FromBytes(data); got != want {
		return nil, fmt.Errorf("the installer in the bundle is damaged: it hashes to %s, not to %s; copy the file again", got, want)
	}
	return data, nil
}

// archOf is which image of an index is meant: that of arch, or of the only
// architecture it has.
func archOf(b bundle.Image, arch string) string {
	if arch != "" && slices.Contains(b.Platforms, "linux/"+arch) {
		return arch
	}
	if len(b.Platforms) > 0 {
		if _, arch, ok := strings.Cut(b.Platforms[0], "/"); ok {
			return arch
		}
	}
	return "amd64"
}

func (r *Run) arch() string {
	for _, b := range r.Bundle.Images() {
		if b.Kind == bundle.KindCluster {
			return archOf(b, r.hostArch)
		}
	}
	return "amd64"
}
