package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// machines are the names of architectures in images, by those that uname -m prints.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

// SettleArch settles of which architecture the images are that describe the cluster, where the bundle is for several: that
// of the first master that can be reached. Every other host gets the images of its own, see [Fleet.settleHost]. A master
// that cannot be asked, or whose architecture the bundle lacks, is a problem when all hosts are reached.
func (f *Fleet) SettleArch(ctx context.Context) error {
	platforms := f.Payload.Platforms()
	if f.Payload.Arch != "" || len(platforms) < 2 {
		return nil
	}
	for _, t := range f.Masters() {
		arch, reached, err := f.archOfMaster(ctx, t)
		if err != nil {
			return t.Failed(err)
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

// archOfMaster asks a master for its architecture. A host that is not reached, or that the bundle is not for, is no error
// here.
func (f *Fleet) archOfMaster(ctx context.Context, t *Target) (arch string, reached bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	link, err := f.Dial(ctx, t)
	if err != nil {
		return "", false, nil
	}
	arch, err = f.askArch(ctx, link)
	_, unfit := errors.AsType[*preflight.Found](err)
	if _, unusable := errors.AsType[*host.Error](err); unfit || unusable {
		err = nil
	}
	return arch, true, errors.Join(err, link.Close())
}

// askArch asks a host for its architecture. It is an error if the bundle is not for that.
func (f *Fleet) askArch(ctx context.Context, link host.Host) (string, error) {
	var out bytes.Buffer
	if err := link.Run(ctx, host.Cmd{Argv: []string{"uname", "-m"}, Stdout: &out}); err != nil {
		return "", fmt.Errorf("ask for its architecture: %w", err)
	}
	machine := strings.TrimSpace(out.String())
	arch := machines[machine]
	if platforms := f.Payload.Platforms(); !slices.Contains(platforms, "linux/"+arch) {
		return "", &preflight.Found{
			Check: "architecture", Message: fmt.Sprintf("the host is %s, the bundle is for %s", machine, strings.Join(platforms, ", ")),
			Remedy: "build the bundle with --platform for that architecture, too",
		}
	}
	return arch, nil
}

// settleHost asks a host for its architecture before anything is brought to it. Where the bundle is for several, it gives
// the host the images of its own.
func (f *Fleet) settleHost(ctx context.Context, t *Target) (err error) {
	arch, err := f.askArch(ctx, t.Link)
	if err != nil || len(f.Payload.Platforms()) < 2 {
		return err
	}
	if t.Arch = arch; t.Arch == f.Payload.Arch {
		return nil
	}
	t.Variant, err = f.Payload.For(ctx, t.Arch)
	return err
}
