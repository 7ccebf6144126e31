package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Seeds of all targets lie in testdata/fuzz; they were recorded from real sessions.

// Whatever a sender says, the receiver does not panic, writes nothing outside of its store and takes no blob that is not
// what its digest says.
func FuzzReceive(f *testing.F) {
	f.Add(recordSession(f))
	f.Fuzz(func(t *testing.T, stream []byte) {
		dir := memoryDir(t)
		store := OpenStore(filepath.Join(dir, "root"))
		store.Listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
		store.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errCut }
		var answer bytes.Buffer
		_, _ = store.Receive(context.Background(), bytes.NewReader(stream), &answer)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 || (len(entries) == 1 && entries[0].Name() != "root") {
			t.Fatalf("outside of the store: %v, %v", entries, err)
		}
		if len(entries) == 0 {
			return
		}
		for name := range tree(t, store.Root()) {
			if !strings.HasPrefix(name, layoutRoot+"/") && !strings.HasPrefix(name, ownDirectory+"/") {
				t.Errorf("a file beside the layout: %s", name)
			}
		}
		if bad, err := store.Verify(context.Background(), nil); err != nil || len(bad) > 0 {
			t.Errorf("damaged blobs %v, %v", bad, err)
		}
	})
}

// recordSession returns what a sender says to an empty store.
func recordSession(t testing.TB) []byte {
	src := mapSource{}
	d := src.image("seed", []byte("layer one"), []byte("layer two")).Digest
	c, err := BuildCatalog(context.Background(), []Ref{{"registry.k8s.io/seed:1", d}, {"nginx:1.29", src.index(src.image("n")).Digest}}, src)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	sr, sw := io.Pipe()
	rr, rw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := OpenStore(t.TempDir()).Receive(context.Background(), sr, rw)
		done <- err
	}()
	if _, err := Push(context.Background(), io.MultiWriter(sw, &stream), rr, c, src, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return stream.Bytes()
}

func FuzzDecodeHello(f *testing.F) {
	f.Add(hello{flags: flagVerify, blobs: 12}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHello(data)
		if err != nil {
			wantProtocolError(t, err)
			return
		}
		if again, err := decodeHello(h.encode()); err != nil || again != h {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeEntries(f *testing.F) {
	f.Add(encodeEntries([]entry{{key{1}, 0}, {key{2}, maxBlobSize}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := decodeEntries(nil, data, 100)
		if err != nil {
			wantProtocolError(t, err)
			return
		}
		again, err := decodeEntries(nil, encodeEntries(list), 100)
		if err != nil || len(again) != len(list) {
			t.Errorf("%d entries became %d, %v", len(list), len(again), err)
		}
	})
}

func FuzzDecodeSpans(f *testing.F) {
	f.Add(encodeSpans(0, []span{{0, 3, 0}, {5, 1, 7}, {6, 2, 0}})[0])
	table := make([]entry, 50)
	for i := range table {
		table[i].size = int64(i) * 1000
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spans, _, err := decodeSpans(nil, 0, data, table)
		if err != nil {
			wantProtocolError(t, err)
			return
		}
		next := 0
		for _, s := range spans {
			if s.first < next || s.count < 1 || s.first+s.count > len(table) || s.offset < 0 || s.offset > table[s.first].size {
				t.Fatalf("span %+v", s)
			}
			next = s.first + s.count
		}
		var all [][]span
		for _, frame := range encodeSpans(0, spans) {
			part, _, err := decodeSpans(nil, 0, frame, table)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, part)
		}
		if len(all) == 1 {
			if diff := cmp.Diff(spans, all[0], cmp.AllowUnexported(span{})); diff != "" {
				t.Errorf("spans changed:\n%s", diff)
			}
		}
	})
}

func FuzzDecodeLinks(f *testing.F) {
	frames, err := encodeLinks([]links{{"a/b", []int{0, 1, 4}, []int{2, 3}, []tagIndex{{"v1", 3}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frames[0])
	f.Add(links{"a/b", []int{0, 1, 4}, []int{2, 3}, []tagIndex{{"v1", 3}}}.append(nil))
	d, err := newLinksDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, decode := range []func([]byte, int) ([]links, error){d.decode, decodeLinks} {
			parts, err := decode(data, 10)
			if err != nil {
				wantProtocolError(t, err)
				continue
			}
			for _, p := range parts {
				if checkRepository(p.name) != nil {
					t.Errorf("name %q", p.name)
				}
				for _, i := range append(p.layers, p.manifests...) {
					if i < 0 || i >= 10 {
						t.Errorf("index %d", i)
					}
				}
				for _, tag := range p.tags {
					if checkTag(tag.tag) != nil || tag.manifest < 0 || tag.manifest >= 10 {
						t.Errorf("tag %+v", tag)
					}
				}
			}
		}
	})
}

func FuzzRequestPath(f *testing.F) {
	f.Add("/v2/a/b/manifests/latest", "docker.io")
	f.Add("/v2/blobs/manifests/tags/list", "localhost:5000")
	src := mapSource{}
	c, err := BuildCatalog(context.Background(), []Ref{{"quay.io/a/b:1", src.image("x").Digest}}, src)
	if err != nil {
		f.Fatal(err)
	}
	d, err := newPlaceDriver(c, src)
	if err != nil {
		f.Fatal(err)
	}
	v := resolver{index: newPlaceIndex(d)}
	disk := resolver{index: storeIndex{OpenStore(f.TempDir())}}
	f.Fuzz(func(t *testing.T, path, ns string) {
		name, rest, ok := route(path)
		if !ok {
			return
		}
		if "/v2/"+name+rest != path {
			t.Errorf("%q is not %q and %q", path, name, rest)
		}
		if full, _ := v.resolve(name, ns); full != "" && full != "quay.io/a/b" {
			t.Errorf("%q resolves to %q", name, full)
		}
		if full, _ := disk.resolve(name, ns); full != "" {
			t.Errorf("%q resolves to %q in an empty store", name, full)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	src := mapSource{}
	f.Add(src[src.image("x", []byte("l")).Digest])
	f.Add(src[src.index(src.image("y")).Digest])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := mapSource{}
		_, _ = BuildCatalog(context.Background(), []Ref{{"x", m.add(data)}}, m)
	})
}

func FuzzParseHtpasswd(f *testing.F) {
	line, err := Htpasswd("admin", "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseHtpasswd(data) })
}

func FuzzDecodePeers(f *testing.F) {
	f.Add(encodePeers([]relayInfo{{address: "10.0.0.2", port: 5001}, {address: "fd00::2", port: 1}}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		peers, err := decodePeers(payload)
		if err != nil {
			wantProtocolError(t, err)
			return
		}
		again, err := decodePeers(encodePeers(peers))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(peers, again, cmp.AllowUnexported(relayInfo{})); diff != "" {
			t.Errorf("coded and decoded (-want +got):\n%s", diff)
		}
	})
}

func wantProtocolError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("error %v is not one of the protocol", err)
	}
}

func TestSeedCorporaAreThere(t *testing.T) {
	for _, target := range []string{
		"FuzzReceive", "FuzzDecodeHello", "FuzzDecodeEntries", "FuzzDecodeSpans", "FuzzDecodeLinks", "FuzzDecodePeers",
		"FuzzRequestPath", "FuzzParseManifest", "FuzzParseHtpasswd",
	} {
		seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target))
		if err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", target, err)
		}
	}
}
