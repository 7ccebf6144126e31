package agenttest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/installer/agent/snapshots"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// Machine is a machine inside this process, for tests that need many of them: the verbs are the real ones and so are the files,
// below Root; what a machine has beside files is asked of the functions. Exec and Script are called for every program, those of
// systemd included. It has no network of its own: every address that is dialled answers, and what a sync brings comes from
// the sender alone, unless Reach and Sync say otherwise.
type Machine struct {
	Root   string // absolute, without links
	Facts  func(q agent.FactsRequest) agent.Facts
	Exec   func(ctx context.Context, q agent.ExecRequest) (agent.ExecResult, error)
	Script func(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (code int, err error)
	// Reach, if set, tells whether something takes connections at an endpoint of which no word is expected.
	Reach func(agent.Endpoint) bool
	// Change, if set, is told of every change of a file, named without Root, as it goes on. An error ends the verb there.
	Change func(name string, at Moment) error
	// Sync, if set, says how the machine reaches others for what a sync brings.
	Sync *storesync.ReceiveOptions
	// Etcd, if set, is the machine's member of etcd. A machine has none otherwise.
	Etcd snapshots.Member
}

// Moment is a stage of a change of a file.
type Moment string

// Moments of a change, in their order. Only files that are replaced are ever staged.
const (
	Before   Moment = "before"
	Removing Moment = "removing" // in place of Before, where a file only goes away
	Staged   Moment = "staged"   // the new file is there, under a temporary name
	After    Moment = "after"
)

// Files are those of the machine.
func (m *Machine) Files() files.Machine { return files.Machine{Root: m.Root, Disk: disk{m}} }

// Serve carries out a call on the machine.
func (m *Machine) Serve(ctx context.Context, verb string, stdin io.Reader, stdout io.Writer) error {
	return verbs.Serve(ctx, m.Files(), system{m}, verb, stdin, stdout)
}

// Agent makes an agent of the machine.
func (m *Machine) Agent(stub string) *agent.Agent { return agent.NewAgent(link{m}, stub) }

// link runs verbs in this process.
type link struct{ *Machine }

func (l link) Name() string { return "simulated" }
func (l link) Close() error { return nil }

func (l link) Run(ctx context.Context, c host.Cmd) error {
	return l.Serve(ctx, c.Argv[2], c.Stdin, c.Stdout)
}

func (l link) Put(context.Context, string, fs.FileMode, io.Reader) error {
	return errors.ErrUnsupported
}

// disk reports every change, and can end a verb between any two files.
type disk struct{ m *Machine }

func (d disk) tell(name string, at Moment) error {
	if d.m.Change == nil {
		return nil
	}
	return d.m.Change(name, at)
}

func (d disk) change(name string, first Moment, change func() error) error {
	if err := d.tell(name, first); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return d.tell(name, After)
}

func (d disk) Put(name string, change func() error) error    { return d.change(name, Before, change) }
func (d disk) Staged(name string) error                      { return d.tell(name, Staged) }
func (d disk) Remove(name string, change func() error) error { return d.change(name, Removing, change) }

func (d disk) RemoveAll(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !files.IsNotDir(err) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := d.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return d.Remove(strings.TrimPrefix(path, d.m.Root), func() error { return os.RemoveAll(path) })
}

// system is what the machine has beside its files.
type system struct{ m *Machine }

func (s system) Look(_ context.Context, q agent.FactsRequest) (agent.Facts, error) {
	return s.m.Facts(q), nil
}

func (s system) Exec(ctx context.Context, q agent.ExecRequest, _ func(line string) error) (agent.ExecResult, error) {
	return s.m.Exec(ctx, q)
}

func (s system) Script(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (agent.ScriptResult, error) {
	var res agent.ScriptResult
	code, err := s.m.Script(ctx, q, func(line string) error {
		res.Tail = append(res.Tail, line)
		return log(line)
	})
	res.Code = code
	return res, err
}

func (system) Listen(context.Context, string, int, string) (io.Closer, error) {
	return io.NopCloser(nil), nil
}

func (s system) Reach(_ context.Context, e agent.Endpoint, word string) string {
	if word == "" && s.m.Reach != nil && !s.m.Reach(e) {
		return "refused"
	}
	return ""
}

func (s system) Etcd() (snapshots.Member, error) {
	if s.m.Etcd == nil {
		return nil, errors.New("dial tcp 127.0.0.1:2379: connect: connection refused")
	}
	return s.m.Etcd, nil
}

func (s system) Sync() storesync.ReceiveOptions {
	if s.m.Sync != nil {
		return *s.m.Sync
	}
	return storesync.ReceiveOptions{
		Listen: func() (net.Listener, error) { return nil, net.ErrClosed },
		Dial:   func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
	}
}
