package facts

import (
	"net"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestWhatRunsIsSeenAndNotWhatOnceDid(t *testing.T) {
	m := at(t.TempDir())
	if err := os.MkdirAll(m.Path("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.Path(name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		return l
	}
	live, dead := listen("/run/live.sock"), listen("/run/dead.sock")
	defer live.Close()
	dead.Close()
	filestest.Write(t, m.Path("/proc/77/comm"), "kubelet\n", 0o600)
	filestest.Write(t, m.Path("/proc/78/comm"), "containerd-shim\n", 0o600)
	var f agent.Facts
	m.lifeFacts(t.Context(), agent.FactsRequest{
		Sockets: []string{"/run/live.sock", "/run/dead.sock", "/run/none.sock", "relative"}, Programs: []string{"kubelet", "containerd", "containerd-shim-runc-v2"},
	}, &f)
	if diff := cmp.Diff(map[string]bool{"/run/live.sock": true, "/run/dead.sock": false, "/run/none.sock": false, "relative": false}, f.Sockets); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"kubelet": true, "containerd": false, "containerd-shim-runc-v2": true}, f.Programs); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
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
