package steps

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// twoStubs is a run with a bundle for two architectures on a host that says it is a machine.
func twoStubs(t *testing.T, machine string) *Run {
	t.Helper()
	var buf bytes.Buffer
	first, other := "amd64", "arm64" // the first is this machine's own
	if runtime.GOARCH == other {
		first, other = other, first
	}
	second := "for " + other
	o := bundle.WriterOptions{
		Stub:  strings.NewReader("for " + first),
		Stubs: []bundle.Stub{{Platform: "linux/" + other, Digest: digest.FromString(second), Size: int64(len(second)), Content: strings.NewReader(second)}},
	}
	if err := stepstest.WriteWith(&buf, o, stepstest.Cluster()); err != nil {
		t.Fatal(err)
	}
	r := newRun(t, buf.Bytes(), t.Output(), hostAt("127.0.0.2", 22, true))
	r.dial = func(context.Context, *Target) (host.Host, error) {
		h := hosttest.NewFake(t, "127.0.0.2")
		h.On([]string{"uname", "-m"}, hosttest.Answer{Stdout: machine + "\n"})
		return h, nil
	}
	return r
}

func TestHostsGetTheInstallerOfTheFirstMastersArchitecture(t *testing.T) {
	for machine, want := range map[string]string{"x86_64": "for amd64", "aarch64": "for arm64"} {
		t.Run(machine, func(t *testing.T) {
			r := twoStubs(t, machine)
			if err := r.settleArch(t.Context()); err != nil {
				t.Fatal(err)
			}
			stub, err := r.stub()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(stub); err != nil || string(got) != want {
				t.Errorf("%s gets %q, %v", machine, got, err)
			}
		})
	}
}

func TestArchitectureThatTheBundleLacksIsNamed(t *testing.T) {
	err := twoStubs(t, "riscv64").settleArch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "riscv64") || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("error is %v", err)
	}
}

func TestFirstMasterOutOfReachIsLeftToTheCheckOfAll(t *testing.T) {
	r := twoStubs(t, "x86_64")
	r.dial = func(context.Context, *Target) (host.Host, error) { return nil, errors.New("no route") }
	if err := r.settleArch(t.Context()); err != nil {
		t.Error(err)
	}
}
