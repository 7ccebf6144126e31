package host_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// login is a server whose commands think they are another user's. sudo is the script that is found under that name; empty means
// none.
func login(t *testing.T, uid, sudo string) (*hosttest.Server, host.Host) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"id": "echo " + uid, "sudo": sudo} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := hosttest.StartServer(t, hosttest.ServerConfig{Env: []string{"PATH=" + dir + ":/usr/bin:/bin"}})
	return s, dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, User: "ops", HostKey: host.Off})
}

// passing does what sudo does when it needs no password.
const passing = `[ "$1" = -n ] || exit 1; shift; [ "$1" = -k ] && shift; [ "$1" = -- ] && shift; SUDO=yes; export SUDO; exec "$@"`

func TestRootCommandsGoThroughSudo(t *testing.T) {
	s, h := login(t, "1000", passing)
	for range 2 {
		var out bytes.Buffer
		err := h.Run(t.Context(), host.Cmd{Argv: []string{"sh", "-c", `pwd; echo "$SUDO $A"`}, Env: []string{"A=it's"}, Dir: "/usr", Stdout: &out, Root: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("/usr\nyes it's\n", out.String()); diff != "" {
			t.Error(diff)
		}
	}
	if got := output(t, h, "sh", "-c", "echo $SUDO"); got != "\n" {
		t.Errorf("a command that needs no root went through sudo: %q", got)
	}
	if n := len(s.Commands()); n != 4 {
		t.Errorf("%d commands, want 4: one to find out, three asked for: %q", n, s.Commands())
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := h.Put(t.Context(), path, 0o600, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	assertFile(t, path, 0o600, "x")
}

func TestMissingSudoIsTold(t *testing.T) {
	_, refused := login(t, "1000", "echo a password is required >&2; exit 1")
	_, missing := login(t, "1000", "")
	for name, h := range map[string]host.Host{"refused": refused, "missing": missing} {
		if name == "missing" {
			if _, err := os.Stat("/usr/bin/sudo"); err == nil {
				continue
			}
		}
		err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Root: true})
		var e *host.Error
		if !errors.Is(err, host.ErrSudo) || !errors.As(err, &e) || e.Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err := h.Put(t.Context(), "/nowhere/file", 0o600, strings.NewReader("x")); !errors.Is(err, host.ErrSudo) {
			t.Errorf("%s: put: %v", name, err)
		}
	}
}

func TestRootLoginNeedsNoSudo(t *testing.T) {
	_, h := login(t, "0", "exit 1")
	if err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Root: true}); err != nil {
		t.Error(err)
	}
}
