package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// tool runs one of the machine's own programs and returns its stdout. The
// error carries the command line and what the program said.
func tool(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return stdout.String(), commandError(ctx, argv, err, stderr.String())
}

// commandError adds to a failed command's error what it was and what it said.
// A command that was ended because ctx was, fails for that reason.
func commandError(ctx context.Context, argv []string, err error, stderr string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, tail(stderr, 600))
}

// tail keeps the end of s, where programs say why they failed.
func tail(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	return "…" + s[len(s)-limit:]
}

// poll calls fn every interval until it reports done, fails or ctx ends. The
// first call is immediate.
func poll(ctx context.Context, interval time.Duration, fn func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
