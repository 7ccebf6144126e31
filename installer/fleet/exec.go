package fleet

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// Bounded gives a context for one script or command: it ends after the run's timeout.
func (f *Fleet) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("no end after %s (--timeout)", f.Timeout))
}

// RunScript runs a script of an image in a directory of a host, within the run's timeout, and logs its output. When the script
// has succeeded, the agent writes the files marks.
func (f *Fleet) RunScript(ctx context.Context, t *Target, step, dir, line string, env map[string]string, marks ...agent.File) error {
	return f.runLine(ctx, t, step, line, "runs "+line, agent.ScriptRequest{Dir: dir, Line: "bash " + line, Env: env, Then: marks})
}

// RunLine runs a shell line on a host, within the run's timeout, and logs its output under a title.
func (f *Fleet) RunLine(ctx context.Context, t *Target, step, title string, req agent.ScriptRequest) error {
	return f.runLine(ctx, t, step, title, title, req)
}

func (f *Fleet) runLine(ctx context.Context, t *Target, step, title, does string, req agent.ScriptRequest) (err error) {
	ctx, cancel := f.Bounded(ctx)
	defer cancel()
	work := f.Report.Does(t.IP.String(), does, 0)
	defer func() { work.End(err) }()
	log := f.Report.Output(t.IP.String(), step, title)
	defer func() { _ = log.Close() }() // it only writes a last line that has no end
	return t.Agent.Script(ctx, req, log)
}

// Exec runs a command on a host, within the run's timeout, and logs its output. An exit status other than 0 is an
// *installer.CommandError.
func (f *Fleet) Exec(ctx context.Context, t *Target, step string, argv ...string) (agent.ExecResult, error) {
	return f.ExecWith(ctx, t, step, agent.ExecRequest{Argv: argv})
}

// ExecWith is [Fleet.Exec] for a request that says more than a command.
func (f *Fleet) ExecWith(ctx context.Context, t *Target, step string, req agent.ExecRequest) (agent.ExecResult, error) {
	return f.ExecAs(ctx, t, step, inWords(req.Argv), req)
}

// inWords is what is shown of a command while it runs: the program and what is asked of it. Flags are in the log, and in its error.
func inWords(argv []string) string {
	words := append([]string{path.Base(argv[0])}, argv[1:]...)
	if flags := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); flags > 0 {
		words = words[:flags]
	}
	return strings.Join(words, " ")
}

// ExecAs is [Fleet.ExecWith] for a command that does not say by itself what it does for a host.
func (f *Fleet) ExecAs(ctx context.Context, t *Target, step, does string, req agent.ExecRequest) (res agent.ExecResult, err error) {
	command := strings.Join(req.Argv, " ")
	work := f.Report.Does(t.IP.String(), does, 0)
	defer func() { work.End(err) }()
	log := f.Report.Output(t.IP.String(), step, command)
	defer func() { _ = log.Close() }()
	req.TimeoutSeconds = int(f.Timeout / time.Second)
	res, err = t.Agent.Exec(ctx, req, log)
	if err != nil {
		return res, fmt.Errorf("run %s: %w", command, err)
	}
	if res.Code != 0 {
		return res, &installer.CommandError{
			Host: t.IP.String(), Command: command, Code: res.Code, Tail: installer.Tail(string(res.Stdout)+"\n"+string(res.Stderr), 15),
		}
	}
	return res, nil
}
