package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// machines are the architectures as uname -m and as images name them.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

// SettleArch asks, where the bundle is for several architectures, the first
// master that is reached for its own: the cluster is described by its images of
// that one. Every other host gets those of its own, see [Fleet.settleHost]. A
// master that cannot be asked, or that the bundle is not for, is reported when
// all hosts are reached.
func (f *Fleet) SettleArch(ctx context.Context) error {
	platforms := f.Payload.Bundle.Platforms()
	if f.Payload.Arch != "" || len(platforms) < 2 {
		return nil
	}
	for _, t := range f.Masters() {
		arch, reached, err := f.archOfMaster(ctx, t)
		if err != nil {
			return &installer.HostError{Host: t.IP.String(), Err: err}
		}
		if reached {
			f.Payload.Arch = arch
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (f *Fleet) archOfMaster(ctx context.Context, t *Target) (arch string, reached bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	link, err := f.Dial(ctx, t)
	if err != nil {
		return "", false, nil
	}
	arch, err = f.askArch(ctx, link)
	var unfit *preflight.Found
	var unusable *host.Error
	if errors.As(err, &unfit) || errors.As(err, &unusable) {
		err = nil
	}
	return arch, true, errors.Join(err, link.Close())
}

// askArch asks a host for its architecture, which the bundle must be for.
func (f *Fleet) askArch(ctx context.Context, link host.Host) (string, error) {
	var out bytes.Buffer
	if err := link.Run(ctx, host.Cmd{Argv: []string{"uname", "-m"}, Stdout: &out}); err != nil {
		return "", fmt.Errorf("ask for its architecture: %w", err)
	}
	machine := strings.TrimSpace(out.String())
	arch := machines[machine]
	if platforms := f.Payload.Bundle.Platforms(); !slices.Contains(platforms, "linux/"+arch) {
		return "", &preflight.Found{
			Check: "architecture", Message: fmt.Sprintf("the host is %s, the bundle is for %s", machine, strings.Join(platforms, ", ")),
			Remedy: "build the bundle with --platform for that architecture, too",
		}
	}
	return arch, nil
}

// settleHost asks a host for its architecture, before anything is brought there, and gives it the images of that, where the
// bundle is for several.
func (f *Fleet) settleHost(ctx context.Context, t *Target) (err error) {
	arch, err := f.askArch(ctx, t.Link)
	if err != nil || len(f.Payload.Bundle.Platforms()) < 2 {
		return err
	}
	if t.Arch = arch; t.Arch == f.Payload.Arch {
		return nil
	}
	t.Variant, err = f.Payload.For(ctx, t.Arch)
	return err
}
