package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sealbuild/sealbuild/installer/payload"
)

// programs are the programs of the new version, to be asked on this machine. They are taken out of the bundle into a directory when
// they are first asked. They get no environment, and what they are asked for (--version, the validation of a file) takes neither
// privileges nor a network: they print, and end. One goroutine uses them.
type programs struct {
	payload *payload.Payload
	version string // as images have it: v1.36.3
	dir     string
	have    map[string]string   // where each program lies
	answers map[string]verdicts // what was asked before: hosts are much alike
}

// verdicts is how a program ended.
type verdicts struct {
	ok   bool
	said string // what it wrote, both outputs
}

// patience bounds one question. A program answers within a tenth of a second.
const patience = 30 * time.Second

// newPrograms makes the directory of programs. close removes it.
func newPrograms(p *payload.Payload, version string) (*programs, error) {
	dir, err := os.MkdirTemp("", "sealinstall-compat-")
	if err != nil {
		return nil, err
	}
	return &programs{payload: p, version: version, dir: dir, have: map[string]string{}, answers: map[string]verdicts{}}, nil
}

func (p *programs) close() error { return os.RemoveAll(p.dir) }

// system are those that the rootfs has. They are taken out together: its layers are read once.
func system() []string { return []string{"kubeadm", "kubelet"} }

// path takes a program out of the bundle.
func (p *programs) path(ctx context.Context, name string) (string, error) {
	if at, ok := p.have[name]; ok {
		return at, nil
	}
	names, layers := []string{name}, []payload.Layer(nil)
	if slices.Contains(system(), name) {
		var err error
		if layers, err = p.payload.SystemLayers(runtime.GOARCH); err != nil {
			return "", err
		}
		names = system()
	} else if layers = p.payload.ImageLayers(name, p.version, runtime.GOARCH); len(layers) == 0 {
		return "", fmt.Errorf("the bundle has no image %s:%s for linux/%s, the architecture of this machine", name, p.version, runtime.GOARCH)
	}
	err := payload.Programs(ctx, p.payload.Bundle, layers, names, func(name string) (io.WriteCloser, error) {
		return os.OpenFile(filepath.Join(p.dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700)
	})
	if err != nil {
		return "", fmt.Errorf("take %s out of the bundle: %w", name, err)
	}
	for _, name := range names {
		p.have[name] = filepath.Join(p.dir, name)
	}
	return p.have[name], nil
}

// ask runs a program with something to read. That it refuses is an answer, and no error.
func (p *programs) ask(ctx context.Context, stdin []byte, name string, args ...string) (verdicts, error) {
	key := name + "\x00" + strings.Join(args, "\x00") + "\x00" + string(stdin)
	if known, ok := p.answers[key]; ok {
		return known, nil
	}
	at, err := p.path(ctx, name)
	if err != nil {
		return verdicts{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s has not ended after %s", name, patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, at, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = p.dir, []string{}, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is this program's
	cmd.Stdin = bytes.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return verdicts{}, context.Cause(ctx)
	case err != nil && (!ended || exit.ExitCode() < 0):
		if at, ok := errors.AsType[*fs.PathError](err); ok { // a directory that nobody knows, and that is gone by then
			err = at.Err
		}
		return verdicts{}, fmt.Errorf("this machine does not run the %s of the bundle: %w", name, err)
	}
	answer := verdicts{err == nil, said.String()}
	p.answers[key] = answer
	return answer, nil
}

// validate has kubeadm read documents. They lie in no file: some of their values are secret.
func (p *programs) validate(ctx context.Context, documents []byte) (verdicts, error) {
	return p.ask(ctx, documents, "kubeadm", "config", "validate", "--config", "/dev/stdin")
}
