package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Simulation is a machine inside this process, for tests that need many of them: the verbs are the real ones and so are
// the files, below Root; what a machine has beside files is asked of the functions. Script and Exec are called for every
// program, those of systemd included.
type Simulation struct {
	Root   string // absolute, without links
	Facts  func(q FactsRequest) Facts
	Exec   func(ctx context.Context, q ExecRequest) (ExecResult, error)
	Script func(ctx context.Context, q ScriptRequest, log func(line string) error) (code int, err error)
	// Change, if set, is told of every change of a file, named without Root, as it goes on. An error ends the verb there.
	Change func(name string, at Moment) error
	// Beat and Silence replace how often a sign of life is given, and how long the installer may be silent; 0 means as usual.
	Beat, Silence time.Duration
}

func (m machine) beat() time.Duration {
	if m.sim != nil && m.sim.Beat > 0 {
		return m.sim.Beat
	}
	return lifeBeat
}

func (m machine) patience() time.Duration {
	if m.sim != nil && m.sim.Silence > 0 {
		return m.sim.Silence
	}
	return silence
}

// Moment is how far a change of a file has come.
type Moment string

// Moments of a change, in their order. Only files that are replaced are ever staged.
const (
	Before   Moment = "before"
	Removing Moment = "removing" // in place of Before, where a file only goes away
	Staged   Moment = "staged"   // the new file is there, under a temporary name
	After    Moment = "after"
)

// Serve is [Main] on the simulated machine. Signals are none of its business.
func (s *Simulation) Serve(ctx context.Context, verb string, stdin io.Reader, stdout io.Writer) error {
	return serve(ctx, machine{root: s.Root, sim: s}, verb, stdin, stdout)
}

// tell says how far a change has come to whoever simulates this machine.
func (m machine) tell(name string, at Moment) error {
	if m.sim == nil || m.sim.Change == nil {
		return nil
	}
	return m.sim.Change(name, at)
}

// change makes a change between its first moment and After.
func (m machine) change(name string, first Moment, make func() error) error {
	if err := m.tell(name, first); err != nil {
		return err
	}
	if err := make(); err != nil {
		return err
	}
	return m.tell(name, After)
}

func (m machine) look(ctx context.Context, q FactsRequest, out *answers) (any, error) {
	if m.sim == nil {
		return m.facts(ctx, q, out)
	}
	f := m.sim.Facts(q)
	f.Hosts = ourHosts(m.text(hostsPath))
	f.Kubernetes = m.kubernetesTraces()
	f.LockedBy = m.lockHolder(q.Lock)
	f.Filled = m.filled(q.Paths)
	m.kubernetesPlaces(&f)
	f.Dirs = m.dirs(q.Dirs)
	f.UnixNano = time.Now().UnixNano()
	return f, nil
}

func (m machine) script(ctx context.Context, q ScriptRequest, out *answers) (any, error) {
	res, err := m.bash(ctx, q, out)
	if err == nil && res.Code == 0 {
		err = m.then(q.Then)
	}
	return res, err
}

func (m machine) bash(ctx context.Context, q ScriptRequest, out *answers) (scriptResult, error) {
	if m.sim == nil {
		return runScript(ctx, q, out)
	}
	var res scriptResult
	code, err := m.sim.Script(ctx, q, func(line string) error {
		res.Tail = append(res.Tail, line)
		return out.log(line)
	})
	res.Code = code
	return res, err
}

func (m machine) exec(ctx context.Context, q execMessage, out *answers) (any, error) {
	res, err := m.program(ctx, q, out)
	if err == nil && res.Code == 0 {
		err = m.then(q.Then)
	}
	return res, err
}

func (m machine) program(ctx context.Context, q execMessage, out *answers) (ExecResult, error) {
	if m.sim == nil {
		return runExec(ctx, q, out)
	}
	return m.sim.Exec(ctx, q.ExecRequest)
}

// then makes files as asked once a program has done its work. Whether somebody still waits for the answer does not
// matter any more: what was done must be on record.
func (m machine) then(files []File) error {
	_, err := m.writeFiles(context.Background(), writeRequest{files}, nil)
	return err
}

// removeAll removes a path with all it holds. A simulated machine can be stopped between any two files.
func (m machine) removeAll(name string) error {
	if m.sim == nil {
		return os.RemoveAll(m.path(name))
	}
	entries, err := os.ReadDir(m.path(name))
	if err != nil && !isNotDir(err) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := m.removeAll(filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return m.change(name, Removing, func() error { return os.RemoveAll(m.path(name)) })
}
