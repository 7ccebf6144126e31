package ocigraph

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Whatever a document says, also of itself, it is read or refused, and a walk over it visits each digest once and ends.
// Every digest there is leads to the same document.
func FuzzWalk(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		root := v1.Descriptor{Digest: digest.FromBytes(raw)}
		m, err := Parse(root.Digest, raw)
		if err != nil {
			return
		}
		visited := map[digest.Digest]bool{}
		visit := func(d digest.Digest) error {
			if visited[d] {
				t.Errorf("%q is visited twice", d)
			}
			visited[d] = true
			return nil
		}
		err = Walk(root, Visitor{
			Load: func(d v1.Descriptor) (Manifest, error) { return Parse(d.Digest, raw) },
			Leaf: func(_ Node, d v1.Descriptor) error { return visit(d.Digest) },
			Done: func(n Node) error {
				if n.Depth > MaxNesting {
					t.Errorf("%q lies below %d indexes", n.Digest, n.Depth)
				}
				return visit(n.Digest)
			},
		})
		if err != nil && !errors.As(err, new(*LimitError)) {
			t.Errorf("walk: %v", err)
		}
		if most := 1 + len(m.Manifests) + len(m.Leaves()); len(visited) > most {
			t.Errorf("%d blobs are visited where %d are named", len(visited), most)
		}
		of := Platforms{
			Load: func(d v1.Descriptor) (Manifest, error) { return Parse(d.Digest, raw) },
			Of:   func(v1.Descriptor) (v1.Platform, error) { return v1.Platform{OS: "linux", Architecture: "amd64"}, nil },
		}
		entries, err := of.Entries(root, m)
		for _, e := range entries {
			if e.Platform == nil || len(e.Way) > MaxNesting {
				t.Errorf("%q lies below %d indexes, for %v", e.Digest, len(e.Way), e.Platform)
			}
		}
		if err == nil && len(entries) > len(m.Manifests)*(len(m.Manifests)+1) {
			t.Errorf("%d images of %d entries", len(entries), len(m.Manifests))
		}
		_, _, _ = of.ForHost(m, v1.Platform{OS: "linux", Architecture: "amd64"})
		found, err := Find(root, func(d v1.Descriptor) (Manifest, error) { return Parse(d.Digest, raw) }, func(n Node) (v1.Descriptor, error) {
			return n.Manifest.Manifests[0], nil
		})
		if err == nil && len(found.Manifest.Manifests) > 0 {
			t.Errorf("found an index: %+v", found)
		}
	})
}
