package storesync

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

const receiveInto = "REGISTRY_TEST_RECEIVE_INTO"

// TestReceiverProcess is no test: it is the receiver that TestKilledReceiverLosesNothing kills.
func TestReceiverProcess(t *testing.T) {
	root := os.Getenv(receiveInto)
	if root == "" {
		t.Skip("run by another test")
	}
	if _, err := Receive(context.Background(), disk.Open(root), os.Stdin, os.Stdout, ReceiveOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0) // before the test says anything on stdout
}

// process runs a session with a receiver of its own, and kills it when that many bytes were sent; -1 for never.
func process(t *testing.T, c catalog.Catalog, src catalog.Source, root string, kill int64) (Receipt, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestReceiverProcess$")
	cmd.Env = append(os.Environ(), receiveInto+"="+root)
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
	line := &meter{w: in, limit: kill, cut: func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}}
	r, err := Push(t.Context(), struct {
		io.Writer
		io.Closer
	}{line, in}, out, c, src, PushOptions{})
	in.Close()
	_ = cmd.Wait() // Push tells how it went
	return r, err
}

// What had come of the large blob is not sent again, and in the end the store is that of an undisturbed session.
func TestKilledReceiverLosesNothing(t *testing.T) {
	const large = 24 << 20
	src, c := registrytest.Images(t, large, 300_000, 5_000)
	whole := t.TempDir()
	mustSync(t, c, src, disk.Open(whole), PushOptions{})

	root := t.TempDir()
	dice := rand.New(rand.NewPCG(1, 2))
	resumed := false
	for range 8 {
		r, err := process(t, c, src, root, 10_000+dice.Int64N(large/2))
		if err == nil {
			break // what was left took less than that
		}
		resumed = resumed || r.BytesResumed > 1<<20
	}
	r, err := process(t, c, src, root, -1)
	if err != nil {
		t.Fatal(err)
	}
	if resumed = resumed || r.BytesResumed > 1<<20; !resumed {
		t.Errorf("the large blob began anew each time: %+v", r)
	}
	if diff := cmp.Diff(registrytest.Tree(t, whole), registrytest.Tree(t, root)); diff != "" {
		t.Errorf("the store (-undisturbed +killed):\n%.1000s", diff)
	}
}

// The default transport asks the proxies that the environment names.
func TestRelaysAreReachedWithoutProxies(t *testing.T) {
	transport, ok := relayInfo{}.client(nil).Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Errorf("the client of a relay may use a proxy: %+v", transport)
	}
}
