package assemble

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// layerFiles are the names in the layers of an image for this machine, and the diff_ids that its config gives them.
func layerFiles(t *testing.T, st *store.Store, root v1.Descriptor) []string {
	t.Helper()
	one, err := st.OfPlatform(root, here())
	if err != nil {
		t.Fatal(err)
	}
	m, err := ocigraph.Read(st, one.Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := st.Config(one, here())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, l := range m.Layers {
		raw, err := st.ReadBlob(l.Digest, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := store.Unpacked(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got := config.RootFS.DiffIDs[i].Algorithm().FromBytes(whole); got != config.RootFS.DiffIDs[i] {
			t.Errorf("diff_id %d is %s, and the layer has %s", i, config.RootFS.DiffIDs[i], got)
		}
		for r := tar.NewReader(bytes.NewReader(whole)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, strings.TrimPrefix(h.Name, "./"))
		}
	}
	slices.Sort(names)
	return names
}

func TestImagesInALayerAreHeldOnceInABundle(t *testing.T) {
	u := upstreamtest.New(t)
	both := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	var children []v1.Descriptor
	for _, p := range both {
		layer := sealosLayer(t, p, map[string]string{"images/shim/list": "registry.k8s.io/pause:3.9\n", "bin/kubeadm": "x"}, map[string]string{"pause:3.9": "pause"})
		children = append(children, u.PushImage(t, "labring/kubernetes", "", p, layer))
	}
	u.PushIndex(t, "labring/kubernetes", "v1", children...)
	for name, platforms := range map[string][]v1.Platform{"one platform": {here()}, "two": both} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, u)
			rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1"), Platforms: platforms})
			if err != nil {
				t.Fatal(err)
			}
			bundled := func() Written {
				if len(platforms) > 1 {
					return bundleForBoth(t, b, rec.Name)
				}
				w, err := b.Bundle(t.Context(), bundleRequest(t, rec.Name))
				if err != nil {
					t.Fatal(err)
				}
				return w
			}
			w := bundled()
			cluster := w.Images[0]
			got := layerFiles(t, b.Store, v1.Descriptor{Digest: cluster.Digest, MediaType: cluster.MediaType})
			if diff := cmp.Diff([]string{"bin/kubeadm", "images/shim/list"}, got); diff != "" {
				t.Errorf("files of the cluster image in the bundle (-want +got):\n%s", diff)
			}
			if !slices.ContainsFunc(w.Images, func(i bundle.Image) bool { return i.Name == "registry.k8s.io/pause:3.9" }) {
				t.Error("the bundle lacks the image of registry/")
			}
			lock := lockOf(t, w.Path)
			if got := lock.Images[0].Original; got != rec.Manifest.Digest {
				t.Errorf("the lock says that it was %q, want %s", got, rec.Manifest.Digest)
			}
			if all := layerFiles(t, b.Store, rec.Manifest); !slices.ContainsFunc(all, func(n string) bool { return strings.HasPrefix(n, search.RegistryTree) }) {
				t.Error("the image in the store is not what it was")
			}
			if again := bundled(); again.Images[0].Digest != cluster.Digest {
				t.Errorf("a second time it is %s, want %s", again.Images[0].Digest, cluster.Digest)
			}
		})
	}
}
