package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// everyHost runs a test on the local host, an in-process server and a real sshd: they must not differ.
func everyHost(t *testing.T, test func(t *testing.T, h host.Host)) {
	t.Run("local", func(t *testing.T) { test(t, host.Local("here")) })
	t.Run("server", func(t *testing.T) {
		s := hosttest.StartServer(t, hosttest.ServerConfig{})
		test(t, dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off}))
	})
	t.Run("sshd", func(t *testing.T) {
		s := hosttest.StartSSHD(t, "127.0.0.1")
		test(t, dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: host.Off}))
	})
}

func dial(t *testing.T, c host.SSHConfig) host.Host {
	t.Helper()
	h, err := host.DialSSH(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func output(t *testing.T, h host.Host, argv ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := h.Run(t.Context(), host.Cmd{Argv: argv, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStreamsStayApart(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		var out, errs bytes.Buffer
		err := h.Run(t.Context(), host.Cmd{
			Argv: []string{"sh", "-c", "echo out; echo err >&2; cat; tty <&0 >&2 || true"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs,
		})
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != "out\nin\n" || errs.String() != "err\nnot a tty\n" {
			t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
		}
	})
}

func TestEnvironmentAndDirectoryReachTheCommand(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		dir := filepath.Join(t.TempDir(), "it's a 'dir'")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, root := range []bool{false, true} {
			var out bytes.Buffer
			err := h.Run(t.Context(), host.Cmd{
				Argv: []string{"sh", "-c", `pwd; echo "$A|$B"`}, Dir: dir, Env: []string{"A=x y'z", "B=$HOME\n"}, Stdout: &out, Root: root,
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(dir+"\nx y'z|$HOME\n\n", out.String()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestExitStatusAndLastLinesAreTold(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		for line, want := range map[string]host.ExitError{
			"echo gone wrong >&2; exit 3": {Code: 3, Stderr: "gone wrong"},
			"kill -TERM $$":               {Code: -1, Signal: "TERM"},
			"exec no-such-program-here":   {Code: 127},
		} {
			err := h.Run(t.Context(), host.Cmd{Argv: []string{"sh", "-c", line}})
			var got *host.ExitError
			if !errors.As(err, &got) {
				t.Fatalf("%s: %v", line, err)
			}
			if got.Code != want.Code || got.Signal != want.Signal || (want.Stderr != "" && got.Stderr != want.Stderr) {
				t.Errorf("%s: %+v", line, got)
			}
			if !strings.HasPrefix(err.Error(), h.Name()+": ") {
				t.Errorf("error does not name the host: %v", err)
			}
		}
		var got *host.ExitError
		if err := h.Run(t.Context(), host.Cmd{Argv: []string{"no-such-program-here"}}); !errors.As(err, &got) || got.Code != 127 {
			t.Errorf("missing program: %v", err)
		}
	})
}

func TestEndOfContextKillsTheCommandAndItsChildren(t *testing.T) {
	t.Parallel()
	everyHost(t, func(t *testing.T, h host.Host) {
		pids := filepath.Join(t.TempDir(), "pids")
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("enough")
		r, w := io.Pipe()
		go func() {
			io.ReadFull(r, make([]byte, 1)) // both are up
			cancel(reason)
			io.Copy(io.Discard, r)
		}()
		err := h.Run(ctx, host.Cmd{
			Argv: []string{"sh", "-c", `sleep 600 & echo "$$ $!" > "$0"; echo up; wait`, pids}, Stdout: w,
		})
		w.Close()
		if !errors.Is(err, reason) {
			t.Fatalf("want the reason the context ended, got %v", err)
		}
		text, err := os.ReadFile(pids)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			waitGone(t, pid)
		}
	})
}

// patience is after what time something does not happen any more, however busy the machine is.
const patience = 2 * time.Minute

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
	}
	unix.Kill(pid, unix.SIGKILL)
	t.Errorf("process %d is still there", pid)
}

func TestFailingInputStopsTheCommand(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		broken := errors.New("disk fell off")
		err := h.Run(t.Context(), host.Cmd{
			Argv: []string{"cat"}, Stdin: io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)),
		})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCommandThatDoesNotReadItsInputSucceeds(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		r, _ := io.Pipe() // never says anything
		if err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Stdin: r}); err != nil {
			t.Error(err)
		}
		if err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Stdin: io.LimitReader(rand.Reader, 8<<20)}); err != nil {
			t.Error(err)
		}
	})
}
