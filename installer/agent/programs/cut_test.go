package programs_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// patience is after what time something does not happen any more, however busy the machine is.
const patience = 2 * time.Minute

func kill(t *testing.T, pid []byte) {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil || n < 2 {
		t.Fatalf("pid %q", pid)
	}
	syscall.Kill(n, syscall.SIGKILL)
}

func assertGone(t *testing.T, pidFile string) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				kill(t, []byte(pid))
				t.Fatalf("process %s is still there", pid)
			}
		}
	}
}

// startedScript writes its own and its child's process ids, says so, and stays.
const startedScript = `sleep 300 & echo $$ $! > "$F"; echo up; wait`

func TestEndOfContextEndsTheScriptAndItsChildren(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		pids := filepath.Join(t.TempDir(), "pids")
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		go func() {
			io.ReadFull(r, make([]byte, 3))
			cancel()
			io.Copy(io.Discard, r)
		}()
		err := a.Script(ctx, agent.ScriptRequest{Line: startedScript, Env: map[string]string{"F": pids}}, w)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		assertGone(t, pids)
	})
}

// stub starts the node's side of a call by hand, and gives its stdin and stdout.
func stub(t *testing.T, verb, line string) (*exec.Cmd, io.WriteCloser, io.Reader) {
	t.Helper()
	cmd := exec.Command(agenttest.Stub(t), "node", verb)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	return cmd, in, out
}

func TestScriptEndsWithTheConnection(t *testing.T) {
	for name, cut := range map[string]func(cmd *exec.Cmd, in io.Closer, out io.Reader){
		"input closed":  func(_ *exec.Cmd, in io.Closer, _ io.Reader) { in.Close() },
		"output closed": func(_ *exec.Cmd, _ io.Closer, out io.Reader) { out.(io.Closer).Close() },
		"agent ended":   func(cmd *exec.Cmd, _ io.Closer, _ io.Reader) { cmd.Process.Signal(syscall.SIGTERM) },
		"agent killed":  func(cmd *exec.Cmd, _ io.Closer, _ io.Reader) { cmd.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			line := `{"protocol":2,"verb":"script","request":{"line":"echo $$ > \"$F\"; echo up; while :; do echo more; sleep 0.1; done","env":{"F":"` + pids + `"}}}`
			cmd, in, out := stub(t, "script", line)
			io.ReadFull(out, make([]byte, len(`{"log":"up"}`)+1))
			cut(cmd, in, out)
			cmd.Wait()
			assertGone(t, pids)
		})
	}
}
