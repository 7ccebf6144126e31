package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
)

const maxCapture = 8 << 20 // bytes kept of each output

// execMessage is ExecRequest on the wire.
type execMessage struct {
	ExecRequest
	Log bool `json:"log,omitempty"` // pass lines on as they come
}

// runExec runs a program and keeps what it writes.
func runExec(ctx context.Context, q execMessage, out *answers) (ExecResult, error) {
	if len(q.Argv) == 0 {
		return ExecResult{}, &Error{Code: CodeRefused, Message: "run: no program"}
	}
	if err := checkEnv(q.Env); err != nil {
		return ExecResult{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if q.TimeoutSeconds > 0 {
		late := &Error{Code: CodeTimeout, Message: fmt.Sprintf("run %s: still running after %d s", host.Quote(q.Argv...), q.TimeoutSeconds)}
		timer := time.AfterFunc(time.Duration(q.TimeoutSeconds)*time.Second, func() { cancel(late) })
		defer timer.Stop()
	}
	env := childEnv(os.Environ(), q.Env)
	argv := q.hiding()
	program, err := findIn(argv[0], envValue(env, "PATH"))
	if err != nil {
		return ExecResult{}, startError(argv[:1], q.Dir, err)
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
			return ExecResult{}, fmt.Errorf("run %s: %w", q.Argv[0], err)
		}
		captures[i] = &capture{log: &lines{send: func(string) error { return nil }}}
		if q.Log {
			captures[i].log.send = out.log
		}
	}
	cmd.Stdout, cmd.Stderr = writers[0], writers[1]
	p, err := start(cmd)
	err = errors.Join(err, writers[0].Close(), writers[1].Close())
	if err != nil {
		readers[0].Close()
		readers[1].Close()
		return ExecResult{}, startError(q.Argv, q.Dir, err)
	}
	read := make(chan struct{}, len(captures))
	for i := range captures {
		go func() {
			if readOutput(readers[i], p.ended, captures[i].write) != nil {
				cancel(errCut)
			}
			read <- struct{}{}
		}()
	}
	err = p.wait(ctx)
	<-read
	<-read
	if err != nil {
		return ExecResult{}, err
	}
	captures[0].trim()
	captures[1].trim()
	res := ExecResult{Code: p.code(), Stdout: captures[0].kept, Stderr: captures[1].kept, Truncated: captures[0].cut || captures[1].cut}
	return res, errors.Join(captures[0].log.flush(), captures[1].log.flush())
}

// Whole is what the program wrote to its stdout, all of it: of what is read on, a piece is worth nothing.
func (res ExecResult) Whole() ([]byte, error) {
	if res.Truncated {
		return nil, fmt.Errorf("it wrote more than the %d MiB that are kept: its beginning is lost", maxCapture>>20)
	}
	return res.Stdout, nil
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
	if len(c.kept) > 2*maxCapture {
		c.trim()
	}
	return c.log.write(p)
}

func (c *capture) trim() {
	if over := len(c.kept) - maxCapture; over > 0 {
		c.kept = append(c.kept[:0], c.kept[over:]...)
		c.cut = true
	}
}
