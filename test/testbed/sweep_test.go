package testbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownerEnv makes the test binary a process that owns a bed until it is ended.
const ownerEnv = "TESTBED_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		b, err := Start(context.Background(), Config{Count: 1, Log: os.Stderr})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("up", b.ID())
		select {}
	}
	os.Exit(m.Run())
}

// startOwner runs a process that owns a bed, and returns when the bed is up.
func startOwner(t *testing.T) (owner *exec.Cmd, id string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	id, ok := strings.CutPrefix(strings.TrimSpace(line), "up ")
	if err != nil || !ok {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		t.Fatalf("the owner said %q, %v, %v", line, err, cmd.Wait())
	}
	return cmd, id
}

func TestSweepRemovesTheBedOfAKilledProcess(t *testing.T) {
	needMachine(t)
	ctx := testContext(t)
	owner, id := startOwner(t)
	if err := Sweep(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	b, err := Attach(id)
	if err != nil {
		t.Fatalf("a sweep took a living bed: %v", err)
	}
	if _, err := b.Hosts[0].Exec(ctx, "true"); err != nil {
		t.Errorf("use a bed of another process: %v", err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if pids, err := cgroupPids(b.Hosts[0].cgroup); err != nil || len(pids) == 0 {
		t.Fatalf("this test wants hosts that outlive their owner: %v, %v", pids, err)
	}
	if err := Sweep(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, id); left != nil {
		t.Errorf("the sweep left behind: %q", left)
	}
}

func TestASignalClosesTheBed(t *testing.T) {
	needMachine(t)
	owner, id := startOwner(t)
	if err := owner.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := owner.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the signal did not end the process: %v", err)
	}
	if left := traces(t, id); left != nil {
		t.Errorf("the signal left behind: %q", left)
	}
}

func TestAFailedStartLeavesNothing(t *testing.T) {
	needMachine(t)
	ctx := testContext(t)
	if _, err := Prepare(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := Start(ctx, Config{Log: &log, Hosts: []HostConfig{
		{}, {Binds: []Bind{{Source: "/nonexistent", Target: "/x"}}},
	}}); err == nil {
		t.Error("a host with a bind of nothing came up")
	} else if !strings.Contains(err.Error(), "host2") || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("the error tells neither host nor cause: %v", err)
	}
	for _, limit := range []time.Duration{100 * time.Millisecond, time.Second} {
		short, cancel := context.WithTimeout(ctx, limit)
		if b, err := Start(short, Config{Count: 1, Log: &log}); err == nil {
			t.Logf("up within %s", limit)
			b.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a start cut short says %v", err)
		}
		cancel()
	}
	ids := regexp.MustCompile(`testbed: (`+idPrefix+`\w+): closed`).FindAllStringSubmatch(log.String(), -1)
	if len(ids) == 0 {
		t.Fatalf("no bed closed:\n%s", &log)
	}
	for _, id := range ids {
		if left := traces(t, id[1]); left != nil {
			t.Errorf("a failed start left behind: %q", left)
		}
	}
}
