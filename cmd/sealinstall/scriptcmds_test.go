package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script.
const patience = 2 * time.Minute

// exits N COMMAND... runs a command that must end with exit status N.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// flip FILE OFFSET OUT copies a file with one byte changed; a negative offset counts from the end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x55
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o644))
}

// cut FILE BYTES OUT copies a file without its last bytes.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data[:len(data)-n], 0o644))
}

// lacks TEXT FILE... checks that the text is nowhere in the files, and below
// the directories, and not in the output of the last command.
func lacks(ts *testscript.TestScript, _ bool, args []string) {
	look := func(name string, data string) {
		if strings.Contains(data, args[0]) {
			ts.Fatalf("%s holds %q", name, args[0])
		}
	}
	look("stdout", ts.ReadFile("stdout"))
	look("stderr", ts.ReadFile("stderr"))
	for _, root := range args[1:] {
		files := 0
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			data, err := os.ReadFile(path)
			look(path, string(data))
			return err
		}))
		if files == 0 {
			ts.Fatalf("%s holds no file: nothing was looked at", root)
		}
	}
}

// stateKey finds the state of a script.
type stateKey struct{}

// scriptState is what the commands of one script leave for later ones.
type scriptState struct {
	accepted chan net.Conn
	address  string // of listen
	server   *exec.Cmd
}

// listen VAR opens a port on 127.0.0.9 that takes connections and never says
// anything, and puts it into a variable.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.9:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	conns := make(chan net.Conn, 100)
	state := ts.Value(stateKey{}).(*scriptState)
	state.accepted, state.address = conns, l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
		}
	}()
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// accepted waits for a connection to the port of listen, and holds it. Negated, it
// checks that nobody connected: the first to do so is this command itself.
func accepted(ts *testscript.TestScript, neg bool, _ []string) {
	state := ts.Value(stateKey{}).(*scriptState)
	if neg {
		own, err := net.Dial("tcp", state.address)
		ts.Check(err)
		defer own.Close()
		if conn := <-state.accepted; conn.RemoteAddr().String() != own.LocalAddr().String() {
			ts.Fatalf("%s connected", conn.RemoteAddr())
		}
		return
	}
	select {
	case conn := <-state.accepted:
		ts.Defer(func() { conn.Close() })
	case <-time.After(patience):
		ts.Fatalf("nobody connects")
	}
}

// serving VAR COMMAND... starts a server and puts the address it announces into a variable.
func serving(ts *testscript.TestScript, _ bool, args []string) {
	state := ts.Value(stateKey{}).(*scriptState)
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(program, args[2:]...)
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "SEALOS_RUNTIME_ROOT="+ts.Getenv("SEALOS_RUNTIME_ROOT"))
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	state.server = cmd
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it has ended already when the script stopped it
		_ = cmd.Wait()
	})
	guard := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if _, address, ok := strings.Cut(lines.Text(), " on "); ok && strings.HasPrefix(lines.Text(), "serving ") {
			ts.Setenv(args[0], address)
			go io.Copy(io.Discard, stderr)
			return
		}
	}
	ts.Fatalf("the server announced nothing")
}

// stop-server ends the server of serving as an operator does; it must end well.
func stopServer(ts *testscript.TestScript, _ bool, _ []string) {
	cmd := ts.Value(stateKey{}).(*scriptState).server
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	guard := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	ts.Check(cmd.Wait())
}

// fetch METHOD URL prints the status and the body of an answer.
func fetch(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(args[0], args[1], nil)
	ts.Check(err)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, body)
}
