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
	"github.com/sealbuild/sealbuild/installer/host"
)

// machines are the architectures as uname -m and as images name them.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

// settleArch chooses, where the bundle is for several architectures, the one of
// the first master; the other hosts must have it too. A master that cannot be
// asked is reported when all hosts are reached.
func (r *Run) settleArch(ctx context.Context) error {
	platforms := r.Bundle.Platforms()
	if r.hostArch != "" || len(platforms) < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	link, err := r.dial(ctx, r.master0())
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	err = errors.Join(link.Run(ctx, host.Cmd{Argv: []string{"uname", "-m"}, Stdout: &out}), link.Close())
	if err != nil {
		return fmt.Errorf("%s: ask for its architecture: %w", r.master0().IP, err)
	}
	machine := strings.TrimSpace(out.String())
	arch := machines[machine]
	if !slices.Contains(platforms, "linux/"+arch) {
		return fmt.Errorf("%s is %s, the bundle is for %s: build it with --platform for that architecture too", r.master0().IP, machine, strings.Join(platforms, ", "))
	}
	r.hostArch = arch
	return nil
}

// stubOnce is the installer for the hosts: read once, compared with what the
// index says, and given out from memory. What runs as root on every host must be
// what was checked, whatever becomes of the file meanwhile.
type stubOnce struct {
	once sync.Once
	data []byte
	err  error
}

// stub opens the installer for the hosts.
func (r *Run) stub() (*io.SectionReader, error) {
	r.stubData.once.Do(func() { r.stubData.data, r.stubData.err = r.readStub() })
	data := r.stubData.data
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), r.stubData.err
}

func (r *Run) readStub() ([]byte, error) {
	want, _ := r.Bundle.StubInfo()
	stub := r.Bundle.Stub()
	if r.hostArch != "" {
		var err error
		if stub, err = r.Bundle.OpenStub("linux/" + r.hostArch); err != nil {
			return nil, err
		}
		want = r.Bundle.StubDigest("linux/" + r.hostArch)
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

func (r *Run) archOf(b bundle.Image) string {
	if r.hostArch != "" && slices.Contains(b.Platforms, "linux/"+r.hostArch) {
		return r.hostArch
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
			return r.archOf(b)
		}
	}
	return "amd64"
}
