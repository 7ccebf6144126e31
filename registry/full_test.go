package registry

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// smallDisk is a filesystem of its own with room for some bytes; it takes a superuser to make one.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount a small filesystem: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// What was there is served as before, what came is kept, and when there is room the session goes on. A collection needs no room.
func TestFullDiskLeavesARegistryThatServesWhatItHad(t *testing.T) {
	for name, options := range map[string]string{"no bytes left": "size=3m", "no inodes left": "size=64m,nr_inodes=250"} {
		t.Run(name, func(t *testing.T) {
			root := smallDisk(t, options)
			store := disk.Open(root)
			m := registrytest.Source{}
			images := func(prefix string, n, size int) catalog.Catalog {
				var refs []catalog.Ref
				for i := range n {
					ref := prefix + string(rune('a'+i)) + ":1"
					refs = append(refs, catalog.Ref{Name: ref, Digest: m.Image(ref, registrytest.Random(uint64(len(prefix)*100+i), size)).Digest})
				}
				c, err := catalog.Build(t.Context(), refs, m)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			old := images("quay.io/old-", 2, 300_000)
			mustFill(t, old, m, store)
			before := registrytest.Tree(t, root)

			big := images("quay.io/bigger-", 20, 200_000)
			for range 2 {
				sendErr, recvErr := session(t, big, m, store)
				var peer *storesync.PeerError
				if !errors.Is(recvErr, syscall.ENOSPC) || !errors.As(sendErr, &peer) || !strings.Contains(peer.Message, "no space left") {
					t.Fatalf("receiver: %v; sender: %v", recvErr, sendErr)
				}
			}
			now := registrytest.Tree(t, root)
			for name, content := range before {
				if now[name] != content {
					t.Errorf("%s changed", name)
				}
			}
			if bad, err := store.Verify(t.Context(), nil); err != nil || len(bad) > 0 {
				t.Errorf("damaged: %v, %v", bad, err)
			}
			if _, err := store.Catalog(t.Context()); err != nil {
				t.Errorf("a name leads nowhere: %v", err)
			}
			h, err := NewHandler(t.Context(), HandlerOptions{Root: root})
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(h)
			defer s.Close()
			for _, r := range old.Repositories {
				for _, b := range r.Layers {
					if resp, body := registrytest.Get(t, s.URL+"/v2/"+r.Name+"/blobs/"+b.Digest.String()); resp.StatusCode != 200 || body != string(m[b.Digest]) {
						t.Errorf("%s: %s", b.Digest, resp.Status)
					}
				}
				if resp, _ := registrytest.Get(t, s.URL+"/v2/"+r.Name+"/manifests/1"); resp.StatusCode != 200 {
					t.Errorf("%s: %s", r.Name, resp.Status)
				}
			}

			done, err := store.Collect(t.Context(), old, disk.CollectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, registrytest.Tree(t, root)); diff != "" {
				t.Errorf("collected %+v; the store differs:\n%.1000s", done, diff)
			}
			if _, err := os.Stat(store.Path(disk.OwnDirectory)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("temporary files stay: %v", err)
			}
			mustFill(t, images("quay.io/new-", 3, 100_000), m, store)
		})
	}
}

// session runs a sync, and returns what either end says.
func session(t *testing.T, c catalog.Catalog, src catalog.Source, store *disk.Store) (sendErr, recvErr error) {
	sr, sw := io.Pipe()
	rr, rw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, recvErr = storesync.Receive(t.Context(), store, sr, rw, storesync.ReceiveOptions{})
		sr.CloseWithError(io.ErrClosedPipe)
		rw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	_, sendErr = storesync.Push(t.Context(), sw, rr, c, src, storesync.PushOptions{})
	sw.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	return sendErr, recvErr
}
