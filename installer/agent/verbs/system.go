package verbs

import (
	"context"
	"io"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/copies"
	"github.com/sealbuild/sealbuild/installer/agent/facts"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
	"github.com/sealbuild/sealbuild/installer/agent/programs"
	"github.com/sealbuild/sealbuild/installer/agent/snapshots"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// System is what verbs need of a host beside its files. Tests have one of their own, for many machines in one process.
type System interface {
	// Look tells what the kernel, the programs and the network are like.
	Look(ctx context.Context, q agent.FactsRequest) (agent.Facts, error)
	// Exec and Script run a program, and pass its lines to log as they come. They do not make the files of Then.
	Exec(ctx context.Context, q agent.ExecRequest, log func(line string) error) (agent.ExecResult, error)
	Script(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (agent.ScriptResult, error)
	// Listen sends a word over every connection to a port, until it is closed.
	Listen(ctx context.Context, ip string, port int, word string) (io.Closer, error)
	// Reach dials an endpoint and says why it did not answer with the word; empty if it did.
	Reach(ctx context.Context, e agent.Endpoint, word string) (why string)
	// Sync gives the options of a sync: how it reaches other hosts and shows signs of life.
	Sync() storesync.ReceiveOptions
	// Etcd gives the host's member of etcd.
	Etcd() (snapshots.Member, error)
}

// machine is what verbs work on.
type machine struct {
	files.Machine
	System
}

// system is this host.
type system struct{}

func (system) Look(ctx context.Context, q agent.FactsRequest) (agent.Facts, error) {
	return facts.Look(ctx, q)
}

func (system) Exec(ctx context.Context, q agent.ExecRequest, log func(line string) error) (agent.ExecResult, error) {
	return programs.Exec(ctx, q, log)
}

func (system) Script(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (agent.ScriptResult, error) {
	return programs.Script(ctx, q, log)
}

func (system) Sync() storesync.ReceiveOptions {
	return storesync.ReceiveOptions{Moves: new(pulse).moves}
}

func (system) Etcd() (snapshots.Member, error) { return etcd.New(etcd.Endpoint, etcd.CertsDir) }

func (m machine) look(ctx context.Context, q agent.FactsRequest) (agent.Facts, error) {
	started := time.Now()
	f, err := m.Look(ctx, q)
	if err != nil {
		return agent.Facts{}, err
	}
	facts.Left(m.Machine, q, &f)
	// The time at the middle of the call: the caller compares it with the middle of its wait.
	f.UnixNano = started.Add(time.Since(started) / 2).UnixNano()
	return f, nil
}

func (m machine) script(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (agent.ScriptResult, error) {
	res, err := m.Script(ctx, q, log)
	if err == nil && res.Code == 0 {
		err = m.then(ctx, q.Then)
	}
	return res, err
}

func (m machine) exec(ctx context.Context, q agent.ExecMessage, log func(line string) error) (agent.ExecResult, error) {
	if !q.Log {
		log = noLog
	}
	res, err := m.Exec(ctx, q.ExecRequest, log)
	if err == nil && res.Code == 0 {
		err = m.then(ctx, q.Then)
	}
	return res, err
}

func noLog(string) error { return nil }

// then makes files once a program has succeeded, also if the installer is gone: the mark of what was done must be there.
func (m machine) then(ctx context.Context, made []agent.File) error {
	_, err := m.WriteFiles(context.WithoutCancel(ctx), agent.WriteRequest{Files: made})
	return err
}

// command runs a program that ends soon.
func (m machine) command(ctx context.Context, argv ...string) (agent.ExecResult, error) {
	return m.Exec(ctx, agent.ExecRequest{Argv: argv, TimeoutSeconds: 60}, noLog)
}

func (m machine) systemctl(ctx context.Context, args ...string) (agent.ExecResult, error) {
	return m.command(ctx, append([]string{"systemctl"}, args...)...)
}

func (m machine) clear(ctx context.Context, q agent.ClearRequest) (agent.ClearResult, error) {
	return m.Clear(ctx, q, m.command)
}

func (m machine) prepareLayers(_ context.Context, q agent.Layers) (agent.LayersPlace, error) {
	return layers.Prepare(m.Machine, q)
}

func (m machine) switchLayers(_ context.Context, q agent.Layers) error {
	return layers.Switch(m.Machine, q)
}

func (m machine) switchLayersBack(_ context.Context, q agent.Layers) error {
	return layers.SwitchBack(m.Machine, q)
}

func (m machine) forgetLayers(_ context.Context, q agent.Layers) error {
	return layers.Forget(m.Machine, q)
}

func (m machine) unpack(ctx context.Context, q agent.UnpackRequest, c *call) (any, error) {
	return struct{}{}, layers.Unpack(ctx, m.Machine, q, c.in, c.out.stream)
}

func (m machine) prepareCopy(ctx context.Context, q agent.CopyRequest) (agent.CopyPlace, error) {
	return copies.Prepare(ctx, m.Machine, q)
}

func (m machine) placeCopy(ctx context.Context, q agent.CopyRequest) (agent.CopyResult, error) {
	return copies.Place(ctx, m.Machine, q)
}

func (m machine) snapshot(ctx context.Context, q agent.SnapshotRequest) (agent.SnapshotResult, error) {
	from, err := m.Etcd()
	if err != nil {
		return agent.SnapshotResult{}, err
	}
	return snapshots.Take(ctx, m.Machine, from, q)
}
