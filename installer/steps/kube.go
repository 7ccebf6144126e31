package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

const adminConf = etcKube + "/admin.conf"

// CommandError is a command that ran on a host and failed.
type CommandError struct {
	Host    string
	Command string
	Code    int
	Tail    string // last lines of its output
}

func (e *CommandError) Error() string { return e.ErrorAt("") }

// ErrorAt is the text for a reader who has been told of host: without the name, if it is that host's.
func (e *CommandError) ErrorAt(host string) string {
	s := fmt.Sprintf("%s: exit status %d", e.Command, e.Code)
	if e.Host != host {
		s = e.Host + ": " + s
	}
	if e.Tail != "" {
		s += ":\n  " + strings.ReplaceAll(e.Tail, "\n", "\n  ")
	}
	return s
}

// exec runs a command on a host with the run's timeout; a status other than 0 is an error.
func (r *Run) exec(ctx context.Context, t *Target, step string, argv ...string) (node.ExecResult, error) {
	return r.execWith(ctx, t, step, node.ExecRequest{Argv: argv})
}

func (r *Run) execWith(ctx context.Context, t *Target, step string, req node.ExecRequest) (node.ExecResult, error) {
	command := strings.Join(req.Argv, " ")
	log := r.Report.Output(t.IP.String(), step, command)
	defer closeLog(log)
	req.TimeoutSeconds = int(r.Timeout / time.Second)
	res, err := t.Agent.Exec(ctx, req, log)
	if err != nil {
		return res, fmt.Errorf("run %s: %w", command, err)
	}
	if res.Code != 0 {
		return res, &CommandError{Host: t.IP.String(), Command: command, Code: res.Code, Tail: installer.Tail(string(res.Stdout)+"\n"+string(res.Stderr), 15)}
	}
	return res, nil
}

func (r *Run) kubectlCache() string { return r.dir("cache", "kubectl") }

// nodeName is the name of a host's node: its host name in lower case, as
// kubelet has it. The check step has found it to be a valid one.
func (t *Target) nodeName() string { return strings.ToLower(t.Facts.Hostname) }

// names are those of a host in /etc/hosts: that of its node, and as it spells it itself.
func (t *Target) names() []string {
	if t.Facts.Hostname == "" {
		return nil
	}
	return slices.Compact([]string{t.nodeName(), t.Facts.Hostname})
}
