package assemble

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// sealosImage is a cluster image as sealos makes them: one layer, with a
// registry directory whose repositories have no domain.
func sealosImage(t *testing.T, u *upstreamtest.Upstream, repo string, files map[string]string, inside map[string]string) v1.Descriptor {
	t.Helper()
	return sealosImageFor(t, u, here(), repo, "v1", files, inside)
}

func sealosImageFor(t *testing.T, u *upstreamtest.Upstream, p v1.Platform, repo, tag string, files map[string]string, inside map[string]string) v1.Descriptor {
	t.Helper()
	return u.PushImage(t, repo, tag, p, sealosLayer(t, p, files, inside))
}

func sealosLayer(t *testing.T, p v1.Platform, files, inside map[string]string) []byte {
	t.Helper()
	tree := map[string][]byte{}
	for name, text := range files {
		tree[name] = []byte(text)
	}
	blob := func(data []byte) v1.Descriptor {
		d := digest.FromBytes(data)
		tree[search.RegistryTree+"blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data"] = data
		return v1.Descriptor{Digest: d, Size: int64(len(data))}
	}
	for name, layer := range inside {
		m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
		m.Config = blob([]byte(`{"os":"linux","architecture":"` + p.Architecture + `","rootfs":{"type":"layers"}}`))
		m.Config.MediaType = v1.MediaTypeImageConfig
		l := blob([]byte(layer))
		l.MediaType = v1.MediaTypeImageLayerGzip
		m.Layers = []v1.Descriptor{l}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := blob(raw)
		d.MediaType = v1.MediaTypeImageManifest
		repository, tag, _ := strings.Cut(name, ":")
		dir := search.RegistryTree + "repositories/" + repository + "/_manifests/"
		tree[dir+"tags/"+tag+"/current/link"] = []byte(d.Digest)
		tree[dir+"revisions/sha256/"+d.Digest.Encoded()+"/link"] = []byte(d.Digest)
	}
	return storetest.Layer(t, tree)
}

func TestBaseFromARegistryBringsItsImages(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "outside/listed", "v1", here(), upstreamtest.Layer("listed", 1000))
	sealosImage(t, u, "labring/kubernetes", map[string]string{
		"images/shim/DefaultImageList": "registry.k8s.io/pause:3.9\nquay.io/team/pause:3.9\n" + u.Ref("outside/listed:v1") + "\n",
		"scripts/init.sh":              "#!/bin/bash\n",
		"bin/kubeadm":                  "x",
	}, map[string]string{"pause:3.9": "pause", "team/pause:3.9": "other", "labring/lvscare:v5": "care"})
	b, log := connected(t, u)
	request := BuildRequest{Name: "mine:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM " + u.Ref("labring/kubernetes:v1") + "\nCOPY mine /\n"), "mine": []byte("m"),
	})}
	rec := mustBuild(t, b, request)
	want := []string{u.Ref("outside/listed:v1"), "docker.io/labring/lvscare:v5", "quay.io/team/pause:3.9", "registry.k8s.io/pause:3.9"}
	slices.Sort(want)
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	u.Counts()
	log.Reset()
	again := mustBuild(t, b, request)
	counts := u.Counts()
	if again.Manifest.Digest != rec.Manifest.Digest || counts["GET blob"] != 0 || strings.Contains(log.String(), "STEP") {
		t.Errorf("a second build made %s (want %s), asked for %v and ran %q", again.Manifest.Digest, rec.Manifest.Digest, counts, log)
	}
	if diff := cmp.Diff(rec.Images, again.Images); diff != "" {
		t.Errorf("images of the second build (-first +second):\n%s", diff)
	}
}

func TestBasesByDigestAndBesideTheStages(t *testing.T) {
	detector.Whole(t)
	u := upstreamtest.New(t)
	child := u.PushImage(t, "tools", "", here(), storetest.Layer(t, map[string][]byte{"tool": []byte("t")}))
	other := u.PushImage(t, "tools", "", v1.Platform{OS: "linux", Architecture: "s390x"}, storetest.Layer(t, map[string][]byte{"tool": []byte("s")}))
	index := u.PushIndex(t, "tools", "v1", child, other)
	for name, kubefile := range map[string]string{
		"index":              "FROM " + u.Ref("tools@"+index.String()) + "\nCOPY f /\n",
		"image":              "FROM " + u.Ref("tools@"+child.Digest.String()) + "\nCOPY f /\n",
		"tag and digest":     "FROM " + u.Ref("tools:v1@"+index.String()) + "\nCOPY f /\n",
		"copied from":        "FROM scratch\nCOPY --from=" + u.Ref("tools:v1") + " /tool /\nCOPY f /\n",
		"named and copied":   "FROM " + u.Ref("tools:v1") + " AS tools\nFROM scratch\nCOPY --from=tools /tool /\nCOPY f /\n",
		"through an ARG":     "ARG BASE=" + u.Ref("tools:v1") + "\nFROM ${BASE}\nCOPY f /\n",
		"named twice":        "FROM " + u.Ref("tools:v1") + " AS one\nFROM " + u.Ref("tools:v1") + "\nCOPY --from=one /tool /again\nCOPY f /\n",
		"in lower case from": "from " + u.Ref("tools:v1") + "\ncopy f /\n",
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, u)
			rec := mustBuild(t, b, BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte(kubefile), "f": []byte("f")})})
			dir := t.TempDir()
			if _, err := search.Layers(t.Context(), report.Silent{}, b.Store, search.Image{Manifest: rec.Manifest, Platform: here()}, dir); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"tool", "f"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
					t.Error(err)
				}
			}
			if _, ok := b.Store.Has(other.Digest); ok {
				t.Error("the image of another platform was pulled")
			}
		})
	}
}
