package fleet

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// RunScript runs one script of an image on a host and logs its output. The host itself records its success.
func (f *Fleet) RunScript(ctx context.Context, t *Target, step, dir, line string, env map[string]string, record ...agent.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("no end after %s (--timeout)", f.Timeout))
	defer cancel()
	log := f.Report.Output(t.IP.String(), step, line)
	defer closeLog(log)
	return t.Agent.Script(ctx, agent.ScriptRequest{Dir: dir, Line: "bash " + line, Env: env, Then: record}, log)
}

// Exec runs a command on a host with the run's timeout; a status other than 0 is an error.
func (f *Fleet) Exec(ctx context.Context, t *Target, step string, argv ...string) (agent.ExecResult, error) {
	return f.ExecWith(ctx, t, step, agent.ExecRequest{Argv: argv})
}

// ExecWith is Exec for a request that says more than a command.
func (f *Fleet) ExecWith(ctx context.Context, t *Target, step string, req agent.ExecRequest) (agent.ExecResult, error) {
	command := strings.Join(req.Argv, " ")
	log := f.Report.Output(t.IP.String(), step, command)
	defer closeLog(log)
	req.TimeoutSeconds = int(f.Timeout / time.Second)
	res, err := t.Agent.Exec(ctx, req, log)
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

func closeLog(c io.Closer) { _ = c.Close() } // it only flushes a last line
