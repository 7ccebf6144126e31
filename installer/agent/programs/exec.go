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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if q.TimeoutSeconds > 0 {
		late := &agent.Error{Code: agent.CodeTimeout, Message: fmt.Sprintf("run %s: still running after %d s", host.Quote(q.Argv...), q.TimeoutSeconds)}
		timer := time.AfterFunc(time.Duration(q.TimeoutSeconds)*time.Second, func() { cancel(late) })
		defer timer.Stop()
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
	var captures [2]*capture
	var readers, writers [2]*os.File
	for i := range captures {
		if readers[i], writers[i], err = os.Pipe(); err != nil {
			return agent.ExecResult{}, fmt.Errorf("run %s: %w", q.Argv[0], err)
		}
		captures[i] = &capture{log: &lines{send: log}}
	}
	cmd.Stdout, cmd.Stderr = writers[0], writers[1]
	p, err := start(cmd)
	err = errors.Join(err, writers[0].Close(), writers[1].Close())
	if err != nil {
		readers[0].Close()
		readers[1].Close()
		return agent.ExecResult{}, startError(q.Argv, q.Dir, err)
	}
	read := make(chan struct{}, len(captures))
	for i := range captures {
		go func() {
			if readOutput(readers[i], p.ended, captures[i].write) != nil {
				cancel(agent.ErrCut)
			}
			read <- struct{}{}
		}()
	}
	err = p.wait(ctx)
	<-read
	<-read
	if err != nil {
		return agent.ExecResult{}, err
	}
	captures[0].trim()
	captures[1].trim()
	res := agent.ExecResult{Code: p.code(), Stdout: captures[0].kept, Stderr: captures[1].kept, Truncated: captures[0].cut || captures[1].cut}
	return res, errors.Join(captures[0].log.flush(), captures[1].log.flush())
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
