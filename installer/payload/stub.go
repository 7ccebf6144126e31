package payload

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
)

// Stub is the stub for the hosts of one architecture.
type Stub struct {
	Data []byte
	Path string // on hosts: versions lie beside each other
}

// OfStub is the payload of a program without a bundle: itself, for hosts of its own architecture.
func OfStub(program []byte) *Payload {
	return &Payload{stubs: map[string]Stub{"": newStub(program)}}
}

func newStub(program []byte) Stub {
	return Stub{Data: program, Path: installer.StubPath + "-" + digest.FromBytes(program).Encoded()[:12]}
}

// Platforms lists what there are stubs for: linux/amd64.
func (p *Payload) Platforms() []string {
	if p.Bundle == nil {
		return []string{"linux/" + runtime.GOARCH}
	}
	return p.Bundle.Platforms()
}

// Stub gives the stub for the hosts of an architecture. It is read once, compared with the digest in the index, and kept in
// memory: what runs as root on every host is what was verified, even if the file changes meanwhile.
func (p *Payload) Stub(arch string) (Stub, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stub, ok := p.stubs[arch]
	if !ok {
		data, err := p.readStub(arch)
		if err != nil {
			return Stub{}, err
		}
		stub = newStub(data)
		if p.stubs == nil {
			p.stubs = map[string]Stub{}
		}
		p.stubs[arch] = stub
	}
	return stub, nil
}

func (p *Payload) readStub(arch string) ([]byte, error) {
	want, _ := p.Bundle.StubInfo()
	stub := p.Bundle.Stub()
	if arch != "" {
		var err error
		if stub, err = p.Bundle.OpenStub("linux/" + arch); err != nil {
			return nil, err
		}
		want = p.Bundle.StubDigest("linux/" + arch)
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

// archOf is the architecture of which an image is taken: arch if the image is for that, or the first one that it is for.
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

// ArchOfFirst is the architecture of the first master.
func (p *Payload) ArchOfFirst() string {
	for _, b := range p.Bundle.Images() {
		if b.Kind == bundle.KindCluster {
			return archOf(b, p.Arch)
		}
	}
	return "amd64"
}
