package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// TestMain makes the test binary its own stub: `<binary> node <verb>` is the node's side of a call.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "node" {
		if err := Main(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asLogin is a host whose commands run as the user of the test.
type asLogin struct{ host.Host }

func (h asLogin) Run(ctx context.Context, c host.Cmd) error {
	c.Root = false
	return h.Host.Run(ctx, c)
}

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func localAgent(t testing.TB) *Agent {
	return NewAgent(asLogin{host.Local("here")}, self(t))
}

// everyAgent runs a test locally and over ssh.
func everyAgent(t *testing.T, test func(t *testing.T, a *Agent)) {
	t.Run("local", func(t *testing.T) { test(t, localAgent(t)) })
	t.Run("ssh", func(t *testing.T) {
		s := hosttest.StartServer(t, hosttest.ServerConfig{})
		h, err := host.DialSSH(t.Context(), host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		test(t, NewAgent(asLogin{h}, self(t)))
	})
}

func TestFactsOfThisMachineAreThere(t *testing.T) {
	everyAgent(t, func(t *testing.T, a *Agent) {
		before := time.Now().UnixNano()
		f, err := a.Facts(t.Context(), FactsRequest{Modules: []string{"no_such_module"}, Tools: []string{"bash", "no-such-tool"}, Paths: []string{"/var/lib/none/at/all"}})
		if err != nil {
			t.Fatal(err)
		}
		name, _ := os.Hostname()
		if f.Hostname != name || f.CPUs == 0 || f.MemoryBytes == 0 || f.Kernel == "" || len(f.Addresses) == 0 || len(f.Mounts) == 0 {
			t.Errorf("%+v", f)
		}
		if f.Modules["no_such_module"] || !f.Tools["bash"] || f.Tools["no-such-tool"] {
			t.Errorf("modules %v, tools %v", f.Modules, f.Tools)
		}
		if d := f.Disks["/var/lib/none/at/all"]; d.Path == "" || d.Total == 0 {
			t.Errorf("disk %+v", d)
		}
		if after := time.Now().UnixNano(); f.UnixNano < before || f.UnixNano > after {
			t.Errorf("its clock shows %d, that of this test %d before and %d after", f.UnixNano, before, after)
		}
	})
}

func TestFilesAreWrittenOnceAndReadBack(t *testing.T) {
	everyAgent(t, func(t *testing.T, a *Agent) {
		dir := t.TempDir()
		one, two := filepath.Join(dir, "a/b/one"), filepath.Join(dir, "two")
		big := bytes.Repeat([]byte("0123456789abcdef"), 6<<16)
		files := []File{{Path: one, Mode: 0o600, Content: []byte("secret")}, {Path: two, Content: big}}
		for i, want := range [][]string{{one, two}, nil} {
			changed, err := a.WriteFiles(t.Context(), files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, changed); diff != "" {
				t.Errorf("call %d: %s", i, diff)
			}
		}
		got, err := a.ReadFiles(t.Context(), []string{one, two, filepath.Join(dir, "none"), filepath.Join(two, "below a file")})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || string(got[one]) != "secret" || !bytes.Equal(got[two], big) {
			t.Errorf("%d files, %q", len(got), got[one])
		}
		changed, err := a.WriteFiles(t.Context(), []File{{Path: one, Mode: 0o640, Content: []byte("secret")}, {Path: two, Remove: true}, {Path: two, Remove: true}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{one, two}, changed); diff != "" {
			t.Error(diff)
		}
		if info, err := os.Stat(one); err != nil || info.Mode() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	})
}

func TestManyLargeFilesTravelInSeveralCalls(t *testing.T) {
	a := localAgent(t)
	dir := t.TempDir()
	var files []File
	for i := range 5 {
		files = append(files, File{Path: filepath.Join(dir, fmt.Sprint(i)), Content: bytes.Repeat([]byte{byte(i)}, 5<<20)})
	}
	changed, err := a.WriteFiles(t.Context(), files)
	if err != nil || len(changed) != 5 {
		t.Errorf("%v, %v", changed, err)
	}
	if _, err := a.WriteFiles(t.Context(), []File{{Path: filepath.Join(dir, "x"), Content: make([]byte, 20<<20)}}); err == nil {
		t.Error("a request beyond the limit was sent")
	}
}

func TestScriptRunsInItsDirectoryWithItsEnvironment(t *testing.T) {
	everyAgent(t, func(t *testing.T, a *Agent) {
		t.Setenv("https_proxy", "http://proxy.invalid")
		dir := t.TempDir()
		var log strings.Builder
		err := a.Script(t.Context(), ScriptRequest{
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
	everyAgent(t, func(t *testing.T, a *Agent) {
		err := a.Script(t.Context(), ScriptRequest{Line: `for i in $(seq 100); do echo line $i; done; exit 7`}, nil)
		var failed *ScriptError
		if !errors.As(err, &failed) || failed.Code != 7 || len(failed.Tail) != tailLines || failed.Tail[tailLines-1] != "line 100" {
			t.Errorf("%v", err)
		}
	})
}

func TestExecKeepsStreamsApart(t *testing.T) {
	everyAgent(t, func(t *testing.T, a *Agent) {
		var log strings.Builder
		res, err := a.Exec(t.Context(), ExecRequest{Argv: []string{"sh", "-c", "cat; echo err >&2; exit 4"}, Stdin: []byte("in\n")}, &log)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ExecResult{Code: 4, Stdout: []byte("in\n"), Stderr: []byte("err\n")}, res); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(log.String(), "in\n") || !strings.Contains(log.String(), "err\n") {
			t.Errorf("log %q", log.String())
		}
		var e *Error
		if _, err := a.Exec(t.Context(), ExecRequest{Argv: []string{"no-such-program"}}, nil); !errors.As(err, &e) || e.Code != CodeMissing {
			t.Errorf("%v", err)
		}
		if _, err := a.Exec(t.Context(), ExecRequest{Argv: []string{"sleep", "60"}, TimeoutSeconds: 1}, nil); !errors.As(err, &e) || e.Code != CodeTimeout {
			t.Errorf("%v", err)
		}
	})
}

func TestScriptLeavesADaemonAndReturns(t *testing.T) {
	a := localAgent(t)
	pid := filepath.Join(t.TempDir(), "pid")
	err := a.Script(t.Context(), ScriptRequest{Line: `sleep 600 & echo $! > "$F"; echo started`, Env: map[string]string{"F": pid}}, io.Discard)
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
