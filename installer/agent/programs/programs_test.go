package programs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

func TestScriptRunsInItsDirectoryWithItsEnvironment(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		t.Setenv("https_proxy", "http://proxy.invalid")
		dir := t.TempDir()
		var log strings.Builder
		err := a.Script(t.Context(), agent.ScriptRequest{
			Dir: dir, Line: `pwd; echo "$A"; echo err >&2; printf 'no newline%s' "$https_proxy"`, Env: map[string]string{"A": "it's $HOME `x` \"q\""},
		}, &log)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dir+"\nit's $HOME `x` \"q\"\nerr\nno newline\n", log.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFailedScriptTellsStatusAndLastLines(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		err := a.Script(t.Context(), agent.ScriptRequest{Line: `for i in $(seq 100); do echo line $i; done; exit 7`}, nil)
		var failed *agent.ScriptError
		if !errors.As(err, &failed) || failed.Code != 7 || len(failed.Tail) != 40 || failed.Tail[39] != "line 100" {
			t.Errorf("%v", err)
		}
	})
}

func TestExecKeepsStreamsApart(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		var log strings.Builder
		res, err := a.Exec(t.Context(), agent.ExecRequest{Argv: []string{"sh", "-c", "cat; echo err >&2; exit 4"}, Stdin: []byte("in\n")}, &log)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(agent.ExecResult{Code: 4, Stdout: []byte("in\n"), Stderr: []byte("err\n")}, res); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(log.String(), "in\n") || !strings.Contains(log.String(), "err\n") {
			t.Errorf("log %q", log.String())
		}
		var e *agent.Error
		if _, err := a.Exec(t.Context(), agent.ExecRequest{Argv: []string{"no-such-program"}}, nil); !errors.As(err, &e) || e.Code != agent.CodeMissing {
			t.Errorf("%v", err)
		}
		if _, err := a.Exec(t.Context(), agent.ExecRequest{Argv: []string{"sleep", "60"}, TimeoutSeconds: 1}, nil); !errors.As(err, &e) || e.Code != agent.CodeTimeout {
			t.Errorf("%v", err)
		}
	})
}

func TestScriptLeavesADaemonAndReturns(t *testing.T) {
	a := agenttest.Local(t)
	pid := filepath.Join(t.TempDir(), "pid")
	err := a.Script(t.Context(), agent.ScriptRequest{Line: `sleep 600 & echo $! > "$F"; echo started`, Env: map[string]string{"F": pid}}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	// It lives: nobody waited for its end.
	if state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat"); err != nil || strings.Contains(string(state), ") Z ") {
		t.Errorf("the daemon is gone: %q, %v", state, err)
	}
	kill(t, text)
}
