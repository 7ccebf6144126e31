package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
)

func TestWhatRunsIsSeenAndNotWhatOnceDid(t *testing.T) {
	m := machine{root: t.TempDir()}
	if err := os.MkdirAll(m.path("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.path(name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		return l
	}
	live, dead := listen("/run/live.sock"), listen("/run/dead.sock")
	defer live.Close()
	dead.Close()
	write(t, m.path("/proc/77/comm"), "kubelet\n", 0o600)
	write(t, m.path("/proc/78/comm"), "containerd-shim\n", 0o600)
	var f Facts
	m.lifeFacts(t.Context(), FactsRequest{
		Sockets: []string{"/run/live.sock", "/run/dead.sock", "/run/none.sock", "relative"}, Programs: []string{"kubelet", "containerd", "containerd-shim-runc-v2"},
	}, &f)
	if diff := cmp.Diff(map[string]bool{"/run/live.sock": true, "/run/dead.sock": false, "/run/none.sock": false, "relative": false}, f.Sockets); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"kubelet": true, "containerd": false, "containerd-shim-runc-v2": true}, f.Programs); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

func TestWhoHoldsALockIsToldWithoutTakingIt(t *testing.T) {
	a := localAgent(t)
	path := filepath.Join(t.TempDir(), "lock")
	ask := func() string {
		f, err := a.Facts(t.Context(), FactsRequest{Lock: path})
		if err != nil {
			t.Fatal(err)
		}
		return f.LockedBy
	}
	if by := ask(); by != "" {
		t.Errorf("before: %q", by)
	}
	if err := os.WriteFile(path, []byte("one that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if by := ask(); by != "" {
		t.Errorf("of a file that nobody holds: %q", by)
	}
	l, err := a.Lock(t.Context(), path, "process 7 on here")
	if err != nil {
		t.Fatal(err)
	}
	if by := ask(); by != "process 7 on here" {
		t.Errorf("while it is held: %q", by)
	}
	l.Release()
	if by := ask(); by != "" {
		t.Errorf("after: %q", by)
	}
}

func TestLocksOfOtherKindsAndFilesAreNotOurs(t *testing.T) {
	table := "1: POSIX  ADVISORY  WRITE 10 00:1b:567 0 EOF\n2: FLOCK  ADVISORY  READ 10 00:1b:567 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 11 00:1b:568 0 EOF\n3: FLOCK  ADVISORY  WRITE 12 00:1c:567 0 EOF\nx\n\n"
	device := uint64(0x1b)
	if holdsLock(table, device, 567) || holdsLock(table, device, 568) {
		t.Error("a lock of another kind or file is taken for ours")
	}
	if !holdsLock(table+"4: FLOCK  ADVISORY  WRITE 12 00:1b:567 0 EOF\n", device, 567) {
		t.Error("our lock is not seen")
	}
}

func TestAPieceOfAnOutputIsNotTakenForAllOfIt(t *testing.T) {
	whole := ExecResult{Stdout: []byte("all")}
	if out, err := whole.Whole(); err != nil || !bytes.Equal(out, whole.Stdout) {
		t.Errorf("%q, %v", out, err)
	}
	cut := ExecResult{Stdout: []byte("the end"), Truncated: true}
	if out, err := cut.Whole(); err == nil {
		t.Errorf("a piece is given as all: %q", out)
	}
}

// deaf is a host that takes a command, never answers, and takes its time to end it.
type deaf struct{}

func (deaf) Name() string { return "10.0.0.9" }
func (deaf) Close() error { return nil }
func (deaf) Run(ctx context.Context, c host.Cmd) error {
	<-ctx.Done()
	time.Sleep(6 * time.Second)
	return context.Cause(ctx)
}
func (deaf) Put(context.Context, string, fs.FileMode, io.Reader) error { return nil }

func TestWaitingForALockEndsAtOnceWhateverTheHostDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAgent(deaf{}, "/stub")
		stopped := errors.New("stopped")
		asking, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { stop(stopped) })
		start := time.Now()
		_, err := a.LockAsking(asking, t.Context(), "/run/lock", "me")
		if took := time.Since(start); took != time.Minute || !errors.Is(err, stopped) {
			t.Errorf("after %s: %v", took, err)
		}
		if text := err.Error(); text != "10.0.0.9: lock: stopped" {
			t.Errorf("error: %s", text)
		}
		time.Sleep(10 * time.Second) // the host ends it behind our back
	})
}
