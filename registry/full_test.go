package registry

import (
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
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
			store := OpenStore(root)
			m := mapSource{}
			catalog := func(prefix string, n, size int) Catalog {
				var refs []Ref
				for i := range n {
					ref := prefix + string(rune('a'+i)) + ":1"
					refs = append(refs, Ref{ref, m.image(ref, random(uint64(len(prefix)*100+i), size)).Digest})
				}
				c, err := BuildCatalog(t.Context(), refs, m)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			old := catalog("quay.io/old-", 2, 300_000)
			mustSync(t, old, m, store, PushOptions{})
			before := tree(t, root)

			big := catalog("quay.io/bigger-", 20, 200_000)
			for range 2 {
				out := syncStores(big, m, store, PushOptions{}, -1)
				var peer *PeerError
				if !errors.Is(out.recvErr, syscall.ENOSPC) || !errors.As(out.sendErr, &peer) || !strings.Contains(peer.Message, "no space left") {
					t.Fatalf("receiver: %v; sender: %v", out.recvErr, out.sendErr)
				}
			}
			now := tree(t, root)
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
					if resp, body := get(t, s.URL+"/v2/"+r.Name+"/blobs/"+b.Digest.String()); resp.StatusCode != 200 || body != string(m[b.Digest]) {
						t.Errorf("%s: %s", b.Digest, resp.Status)
					}
				}
				if resp, _ := get(t, s.URL+"/v2/"+r.Name+"/manifests/1"); resp.StatusCode != 200 {
					t.Errorf("%s: %s", r.Name, resp.Status)
				}
			}

			done, err := store.Collect(t.Context(), old, CollectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, tree(t, root)); diff != "" {
				t.Errorf("collected %+v; the store differs:\n%.1000s", done, diff)
			}
			if _, err := os.Stat(store.path(ownDirectory)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("temporary files stay: %v", err)
			}
			mustSync(t, catalog("quay.io/new-", 3, 100_000), m, store, PushOptions{})
		})
	}
}
