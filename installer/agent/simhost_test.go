package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/sealbuild/sealbuild/installer/host"
)

// simulatedHost runs verbs on a simulated machine, in this process.
type simulatedHost struct{ sim *Simulation }

func (h *simulatedHost) Name() string { return "simulated" }
func (h *simulatedHost) Close() error { return nil }

func (h *simulatedHost) Run(ctx context.Context, c host.Cmd) error {
	return h.sim.Serve(ctx, c.Argv[2], c.Stdin, c.Stdout)
}

func (h *simulatedHost) Put(context.Context, string, fs.FileMode, io.Reader) error {
	return errors.ErrUnsupported
}
