package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
)

// Exec runs a program and keeps what it writes. Its lines go to log as they come.
func Exec(ctx context.Context, q agent.ExecRequest, log func(line string) error) (agent.ExecResult, error) {
	if len(q.Argv) == 0 {
		return agent.ExecResult{}, &agent.Error{Code: agent.CodeRefused, Message: "run: no program"}
	}
	if err := checkEnv(q.Env); err != nil {
		return agent.ExecResult{}, err
	}
	if q.TimeoutSeconds > 0 {
		late := &agent.Error{Code: agent.CodeTimeout, Message: fmt.Sprintf("run %s: still running after %d s", host.Quote(q.Argv...), q.TimeoutSeconds)}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(q.TimeoutSeconds)*time.Second, late)
		defer cancel()
	}
	env := childEnv(os.Environ(), q.Env)
	argv := hiding(q)
	program, err := findIn(argv[0], envValue(env, "PATH"))
	if err != nil {
		return agent.ExecResult{}, startError(argv[:1], q.Dir, err)
	}
	cmd := exec.Command(program, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir, cmd.Env = q.Dir, env
	if len(q.Stdin) > 0 {
		cmd.Stdin = bytes.NewReader(q.Stdin)
	}
	out, errs := &capture{log: &lines{send: log}}, &capture{log: &lines{send: log}}
	code, err := run(ctx, cmd, q.Argv[0], q.Argv, out.write, errs.write)
	if err != nil {
		return agent.ExecResult{}, err
	}
	out.trim()
	errs.trim()
	res := agent.ExecResult{Code: code, Stdout: out.kept, Stderr: errs.kept, Truncated: out.cut || errs.cut}
	return res, errors.Join(out.log.flush(), errs.log.flush())
}

// capture keeps the last bytes of an output and passes its lines on.
type capture struct {
	kept []byte
	cut  bool
	log  *lines
}

func (c *capture) write(p []byte) error {
	c.kept = append(c.kept, p...)
	// Cut at twice the size, so that the bytes are not moved for every write.
	if len(c.kept) > 2*agent.MaxCapture {
		c.trim()
	}
	return c.log.write(p)
}

func (c *capture) trim() {
	if over := len(c.kept) - agent.MaxCapture; over > 0 {
		c.kept = append(c.kept[:0], c.kept[over:]...)
		c.cut = true
	}
}
