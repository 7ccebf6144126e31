package host_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func TestPutWritesContentModeAndParents(t *testing.T) {
	t.Parallel()
	everyHost(t, func(t *testing.T, h host.Host) {
		dir := t.TempDir()
		for i, c := range []struct {
			mode fs.FileMode
			body string
		}{{0o755, "#!/bin/sh\n"}, {0o600, ""}, {0o644 | fs.ModeSetuid, "ends in no newline"}, {0o640, "0123456789abcdef"}} {
			path := filepath.Join(dir, "a b", "it's", fmt.Sprint(i))
			for _, r := range []io.Reader{bytes.NewReader([]byte(c.body)), bytes.NewBufferString(c.body)} {
				if err := h.Put(t.Context(), path, c.mode, r); err != nil {
					t.Fatal(err)
				}
				assertFile(t, path, c.mode, c.body)
			}
		}
		assertNoTemps(t, filepath.Join(dir, "a b", "it's"))
		if info, err := os.Stat(filepath.Join(dir, "a b")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("parent: %v %v", info.Mode(), err)
		}
	})
}

func assertFile(t *testing.T, path string, mode fs.FileMode, body string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != body {
		t.Fatalf("%s: %q, %v", path, got, err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode {
		t.Errorf("%s: mode %v, want %v, %v", path, info.Mode(), mode, err)
	}
}

func assertNoTemps(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(dir, ".*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestPutOfTheSameFileSendsNothingAndMendsTheMode(t *testing.T) {
	everyHost(t, func(t *testing.T, h host.Host) {
		path := filepath.Join(t.TempDir(), "file")
		body := bytes.Repeat([]byte("x"), 1<<20)
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(path)
		r := bytes.NewReader(body)
		if err := h.Put(t.Context(), path, 0o755, r); err != nil {
			t.Fatal(err)
		}
		if r.Len() != len(body) {
			t.Errorf("%d bytes were sent", len(body)-r.Len())
		}
		after, _ := os.Stat(path)
		if !os.SameFile(before, after) || after.Mode() != 0o755 {
			t.Errorf("replaced or mode %v", after.Mode())
		}
	})
}

func TestPutThatFailsLeavesTheOldFile(t *testing.T) {
	t.Parallel()
	everyHost(t, func(t *testing.T, h host.Host) {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("disk fell off")
		err := h.Put(t.Context(), path, 0o644, io.MultiReader(bytes.NewBufferString("new"), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = h.Put(ctx, path, 0o644, io.MultiReader(bytes.NewBufferString("new"), readFunc(func([]byte) (int, error) {
			cancel()
			<-time.After(50 * time.Millisecond)
			return 0, nil
		})))
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if err := h.Put(t.Context(), dir, 0o644, bytes.NewBufferString("new")); err == nil {
			t.Error("a directory was replaced")
		}
		for _, bad := range []string{"relative", "/a/../b", "/", ""} {
			if err := h.Put(t.Context(), bad, 0o644, bytes.NewBufferString("new")); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
		assertFile(t, path, 0o644, "old")
		assertNoTemps(t, dir)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestConnectionCutInPutLeavesNoFile(t *testing.T) {
	s := hosttest.StartServer(t, hosttest.ServerConfig{})
	h := dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off})
	dir := t.TempDir()
	body := io.MultiReader(bytes.NewReader(make([]byte, 4<<20)), readFunc(func(p []byte) (int, error) {
		s.Cut()
		return len(p), nil
	}))
	err := h.Put(t.Context(), filepath.Join(dir, "file"), 0o644, body)
	if !errors.Is(err, host.ErrUnreachable) {
		t.Fatalf("got %v", err)
	}
	assertNoTemps(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
		t.Error("the file is there")
	}
	// The next command makes the connection anew.
	if got := output(t, h, "echo", "back"); got != "back\n" {
		t.Errorf("got %q", got)
	}
}

func TestHundredMegabytesArriveWhole(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("100 MB")
	}
	s := hosttest.StartSSHD(t, "127.0.0.1")
	h := dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, KeyFiles: []string{s.KeyFile}, HostKey: host.Off})
	path := filepath.Join(t.TempDir(), "big")
	sum := sha256.New()
	r := io.TeeReader(io.LimitReader(rand.New(rand.NewSource(1)), 100<<20), sum)
	if err := h.Put(t.Context(), path, 0o644, r); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := sha256.New()
	if n, err := io.Copy(got, f); err != nil || n != 100<<20 {
		t.Fatal(n, err)
	}
	if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
		t.Error("other bytes arrived")
	}
}
