package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// openTerminal opens a pseudo-terminal of 80 columns and 24 rows: what it shows is read from ours, theirs is a program's.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	ours = os.NewFile(uintptr(fd), "ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// shown is what a terminal has been sent.
type shown struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *shown) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *shown) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// onTerminal runs sealinstall on a terminal, lets meanwhile type on it, and gives what it was sent and the exit status.
func onTerminal(t *testing.T, env []string, meanwhile func(keys io.Writer, sent *shown), args ...string) (string, int) {
	t.Helper()
	ours, theirs := openTerminal(t)
	dir := t.TempDir()
	var bundle bytes.Buffer
	if err := stepstest.Write(&bundle, []byte("#!/bin/false\n"), stepstest.Cluster()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tiny.bundle"), bundle.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Args = append([]string{"sealinstall", "--bundle", filepath.Join(dir, "tiny.bundle")}, args...)
	cmd.Env = append([]string{"HOME=" + dir, "SEALOS_RUNTIME_ROOT=" + filepath.Join(dir, "state"), "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var sent shown
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&sent, ours) // until nobody has the terminal open: then reading fails
	}()
	if meanwhile != nil {
		meanwhile(ours, &sent)
	}
	err := cmd.Wait()
	<-read
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Errorf("%v: %q", err, sent.String())
	}
	return sent.String(), cmd.ProcessState.ExitCode()
}

// atTheEnd is what stands on the terminal below the last place that was cleared.
func atTheEnd(sent string) string { return sent[strings.LastIndex(sent, "\x1b[J")+len("\x1b[J"):] }

func TestATerminalShowsATableWhileARunGoesOnAndNoneAfterIt(t *testing.T) {
	for _, c := range []struct {
		env           string
		table, colour bool
	}{{"TERM=xterm", true, true}, {"NO_COLOR=1", true, false}, {"TERM=dumb", false, false}} {
		env := []string{c.env}
		if c.env == "NO_COLOR=1" {
			env = append(env, "TERM=xterm")
		}
		sent, code := onTerminal(t, env, nil, "--masters", "127.0.0.2:1")
		if code != 3 {
			t.Errorf("%s: exit status %d: %q", c.env, code, sent)
		}
		if got := strings.Contains(sent, "[ 1/13] check                look at every host"); got != c.table {
			t.Errorf("%s: a table: %t, want %t: %q", c.env, got, c.table, sent)
		}
		if got := strings.Contains(sent, "\x1b[31m") && strings.Contains(sent, "\x1b[1m"); got != c.colour {
			t.Errorf("%s: colours: %t, want %t: %q", c.env, got, c.colour, sent)
		}
		if !c.table && strings.Contains(sent, "\x1b") {
			t.Errorf("%s: the terminal cannot move its cursor: %q", c.env, sent)
		}
		if c.table && (!strings.HasPrefix(atTheEnd(sent), "error: step check") || strings.Contains(atTheEnd(sent), "look at every host")) {
			t.Errorf("%s: at the end stands %q", c.env, atTheEnd(sent))
		}
	}
}

func TestCtrlCLeavesTheTerminalInOrder(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	sent, code := onTerminal(t, []string{"TERM=xterm", "NO_COLOR=1"}, func(keys io.Writer, sent *shown) {
		link, err := silent.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { link.Close() })
		if _, err := keys.Write([]byte{3}); err != nil { // Ctrl-C
			t.Error(err)
		}
	}, "--masters", silent.Addr().String())
	if code != 1 && code != 3 {
		t.Errorf("exit status %d: %q", code, sent)
	}
	if !strings.Contains(sent, "stopping; press Ctrl-C again to stop at once\x1b[K\r") {
		t.Errorf("it does not say that it stops, in a line of its own: %q", sent)
	}
	if !strings.HasPrefix(atTheEnd(sent), "error: ") || strings.Contains(sent, "\x1b[?25l") {
		t.Errorf("at the end stands %q", atTheEnd(sent))
	}
}
