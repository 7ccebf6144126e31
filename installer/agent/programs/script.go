package programs

import (
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

const (
	maxLogLine = 16 << 10 // bytes; a longer line is passed on in pieces
	tailLines  = 40
)

// Script runs shell text with bash, and passes on each line of its output as it comes.
func Script(ctx context.Context, q agent.ScriptRequest, log func(line string) error) (agent.ScriptResult, error) {
	if err := checkEnv(q.Env); err != nil {
		return agent.ScriptResult{}, err
	}
	env := childEnv(os.Environ(), q.Env)
	bash, err := findIn("bash", envValue(env, "PATH"))
	if err != nil {
		return agent.ScriptResult{}, startError([]string{"bash"}, "", err)
	}
	cmd := exec.Command(bash, "-c", q.Line)
	cmd.Dir, cmd.Env = q.Dir, env
	out := &lines{send: log}
	// One pipe for both outputs: their order is worth more than which of the two a line is of.
	code, err := run(ctx, cmd, "script", []string{"bash"}, out.write)
	if err != nil {
		return agent.ScriptResult{}, err
	}
	if err := out.flush(); err != nil {
		return agent.ScriptResult{}, err
	}
	return agent.ScriptResult{Code: code, Tail: out.tail}, nil
}

// lines cuts a stream into lines, passes them on and keeps the last ones.
type lines struct {
	send func(string) error
	part []byte
	tail []string
}

func (l *lines) write(p []byte) error {
	for _, c := range p {
		if c == '\n' || len(l.part) >= maxLogLine {
			if err := l.emit(); err != nil {
				return err
			}
		}
		if c != '\n' {
			l.part = append(l.part, c)
		}
	}
	return nil
}

// flush passes on a last line without a newline.
func (l *lines) flush() error {
	if len(l.part) == 0 {
		return nil
	}
	return l.emit()
}

func (l *lines) emit() error {
	line := strings.TrimSuffix(string(l.part), "\r")
	l.part = l.part[:0]
	if len(l.tail) == tailLines {
		l.tail = append(l.tail[:0], l.tail[1:]...)
	}
	l.tail = append(l.tail, line)
	return l.send(line)
}
