package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandTime bounds one command. It only ends what hangs: the longest takes a minute.
const commandTime = 15 * time.Minute

// usage is what one process took.
type usage struct {
	seconds float64
	peak    float64 // resident memory, MiB
	output  string  // the end of what it printed
}

// execute runs a program to its end and measures it.
func execute(ctx context.Context, dir string, env []string, argv ...string) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	err := cmd.Start()
	var u usage
	if err == nil {
		watch := watchMemory(cmd.Process.Pid)
		err = cmd.Wait()
		u.seconds = time.Since(start).Seconds()
		u.peak = watch.end(cmd.ProcessState)
	}
	u.output = out.String()
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{filepath.Base(argv[0])}, argv[1:]...), " "), err, u.output)
	}
	return u, nil
}

// shell runs a pipeline; args are $1 and so on in it.
func shell(ctx context.Context, dir, line string, args ...string) (usage, error) {
	return execute(ctx, dir, nil, append([]string{"bash", "-euo", "pipefail", "-c", line, "bench"}, args...)...)
}

// tail keeps the end of what is written to it, by several at once if need be.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p[max(0, len(p)-tailSize):]...)
	if over := len(t.data) - tailSize; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}
