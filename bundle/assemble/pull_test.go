package assemble

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func TestImageMadeBySealosIsBundledWithItsImages(t *testing.T) {
	u := upstreamtest.New(t)
	pushed := sealosImage(t, u, "labring/kubernetes", map[string]string{
		"images/shim/DefaultImageList": "registry.k8s.io/pause:3.9\n",
		"manifests/app.yaml":           "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, image: \"quay.io/team/app:v1\"}\n",
	}, map[string]string{"pause:3.9": "pause", "team/app:v1": "app", "library/unnamed:v1": "pause"})
	b, _ := connected(t, u)
	rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1")})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Manifest.Digest != pushed.Digest {
		t.Errorf("stored as %s, want %s as in the registry", rec.Manifest.Digest, pushed.Digest)
	}
	want := []string{"docker.io/library/unnamed:v1", "quay.io/team/app:v1", "registry.k8s.io/pause:3.9"}
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if rec.Images[0].Digest != rec.Images[2].Digest {
		t.Error("two names of one image of the registry directory have two digests")
	}
	out := filepath.Join(t.TempDir(), "out")
	stub := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(machineHere())})
	if _, err := b.Bundle(t.Context(), BundleRequest{Images: []string{rec.Name}, Output: out, Stub: filepath.Join(stub, "stub")}); err != nil {
		t.Fatal(err)
	}
	f, err := bundle.OpenFile(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	for _, blob := range f.Blobs() {
		if seen[blob.Digest.String()] {
			t.Errorf("blob %s is there twice", blob.Digest)
		}
		seen[blob.Digest.String()] = true
	}
	for _, i := range append(f.Images(), bundle.Image{Digest: rec.Images[1].Digest}) {
		if !seen[i.Digest.String()] {
			t.Errorf("the bundle lacks the manifest %s", i.Digest)
		}
	}
}

func TestDamagedRegistryDirectoryIsAnError(t *testing.T) {
	u := upstreamtest.New(t)
	name := search.RegistryTree + "blobs/sha256/aa/aa00000000000000000000000000000000000000000000000000000000000000/data"
	u.PushImage(t, "bad", "v1", here(), storetest.Layer(t, map[string][]byte{name: []byte("other")}))
	b, _ := connected(t, u)
	_, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("bad:v1")})
	if err == nil {
		t.Fatal("no error")
	}
	if _, err := b.Store.Load(u.Ref("bad:v1")); err == nil {
		t.Error("the image was recorded")
	}
}

// What is pushed comes back whole where no other registry can be reached.
func TestPushedImageNeedsNoOtherRegistry(t *testing.T) {
	upstream, site := upstreamtest.New(t), upstreamtest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	var children []v1.Descriptor
	for _, p := range []v1.Platform{amd64, arm, {OS: "linux", Architecture: "s390x"}} {
		children = append(children, upstream.PushImage(t, "app/x", "", p, upstreamtest.Layer(p.Architecture, 1000)))
	}
	upstream.PushIndex(t, "app/x", "v1", children...)
	for name, platforms := range map[string][]v1.Platform{"one platform": {amd64}, "two": {amd64, arm}} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, upstream)
			built := mustBuild(t, b, BuildRequest{
				Name: "x:1", Platforms: platforms,
				Context: storetest.Files(t, map[string][]byte{
					"Kubefile":           []byte("FROM scratch\nCOPY f /\n"), // the list is not in the image
					"f":                  []byte("f"),
					"images/shim/images": []byte(upstream.Ref("app/x:v1") + "\n"),
				}),
			})
			if _, err := b.Push(t.Context(), "x:1", site.Ref("team/x:1")); err != nil {
				t.Fatal(err)
			}
			upstream.Counts()
			other, _ := connected(t, site)
			pulled, err := other.Pull(t.Context(), PullRequest{Ref: site.Ref("team/x:1"), Platforms: platforms})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(built.Images, pulled.Images); diff != "" {
				t.Errorf("images (-built +pulled):\n%s", diff)
			}
			if pulled.Manifest.Digest != built.Manifest.Digest || pulled.Platform != built.Platform {
				t.Errorf("pulled %s for %s, built %s for %s", pulled.Manifest.Digest, pulled.Platform, built.Manifest.Digest, built.Platform)
			}
			if counts := upstream.Counts(); len(counts) > 0 {
				t.Errorf("the first registry was asked for %v", counts)
			}
			for _, r := range []store.Record{built, pulled} {
				if r.Size == 0 || r.NeededUnique == 0 || r.Size != built.Size || r.NeededUnique != built.NeededUnique {
					t.Errorf("sizes are %d and %d", r.Size, r.NeededUnique)
				}
			}
		})
	}
}

// What stands upon a pushed image needs what was pushed with it, though its
// layers do not name it.
func TestBaseBringsTheImagesPushedWithIt(t *testing.T) {
	upstream, site := upstreamtest.New(t), upstreamtest.New(t)
	upstream.PushImage(t, "app/x", "v1", here(), upstreamtest.Layer("x", 1000))
	b, _ := connected(t, upstream)
	built := mustBuild(t, b, BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": []byte("f"), // the list is not in the image
		"images/shim/images": []byte(upstream.Ref("app/x:v1") + "\n"),
	})})
	if _, err := b.Push(t.Context(), "x:1", site.Ref("team/x:1")); err != nil {
		t.Fatal(err)
	}
	other, _ := connected(t, site)
	upon := mustBuild(t, other, BuildRequest{Name: "y:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM " + site.Ref("team/x:1") + "\nCOPY g /\n"), "g": []byte("g"),
	})})
	if diff := cmp.Diff(refs(built.Images), refs(upon.Images)); diff != "" {
		t.Errorf("images (-base +upon it):\n%s", diff)
	}
}

// Of what was pushed for several platforms, one that is pulled alone gets its
// own images and no others.
func TestOnePlatformOfAPushedImageComesWithItsOwnImages(t *testing.T) {
	upstream, site := upstreamtest.New(t), upstreamtest.New(t)
	s390x := v1.Platform{OS: "linux", Architecture: "s390x"}
	all := []v1.Platform{amd64, arm64, s390x}
	var children []v1.Descriptor
	for _, p := range all {
		children = append(children, upstream.PushImage(t, "app/x", "", p, upstreamtest.Layer(p.Architecture, 1000)))
		upstream.PushImage(t, "app/only-"+p.Architecture, "v1", p, upstreamtest.Layer("only "+p.Architecture, 1000))
	}
	upstream.PushIndex(t, "app/x", "v1", children...)
	b, _ := connected(t, upstream)
	files := map[string][]byte{
		"Kubefile": []byte("FROM scratch\nARG TARGETARCH\nCOPY lists/$TARGETARCH/ /images/shim/\n"),
	}
	for _, p := range all {
		files["lists/"+p.Architecture+"/list"] = []byte(upstream.Ref("app/x:v1") + "\n" + upstream.Ref("app/only-"+p.Architecture+":v1") + "\n")
	}
	mustBuild(t, b, BuildRequest{Name: "x:1", Platforms: all, Context: storetest.Files(t, files)})
	if _, err := b.Push(t.Context(), "x:1", site.Ref("team/x:1")); err != nil {
		t.Fatal(err)
	}
	for name, platforms := range map[string][]v1.Platform{"one": {arm64}, "two of three": {amd64, arm64}} {
		t.Run(name, func(t *testing.T) {
			upstream.Counts()
			other, _ := connected(t, site)
			pulled, err := other.Pull(t.Context(), PullRequest{Ref: site.Ref("team/x:1"), Platforms: platforms})
			if err != nil {
				t.Fatal(err)
			}
			var want, names []string
			for _, p := range platforms {
				want = append(want, upstream.Ref("app/only-"+p.Architecture+":v1"))
				names = append(names, store.Platform(p))
			}
			want = append(want, upstream.Ref("app/x:v1"))
			if diff := cmp.Diff(want, refs(pulled.Images)); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(names, pulled.Images[len(pulled.Images)-1].Platforms); diff != "" {
				t.Errorf("platforms of the index (-want +got):\n%s", diff)
			}
			if counts := upstream.Counts(); len(counts) > 0 {
				t.Errorf("the first registry was asked for %v", counts)
			}
		})
	}
}

func TestARefusedPushTellsWhatToDo(t *testing.T) {
	upstream := upstreamtest.New(t)
	b, _ := connected(t, upstream)
	mustBuild(t, b, BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": []byte("f")})})
	const login = "log in with sealbuild login"
	for body, c := range map[string]struct {
		status int
		login  bool
	}{
		`{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`:                              {http.StatusForbidden, true},
		`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`:                                           {http.StatusUnauthorized, true},
		`{"errors":[{"code":"UNAUTHORIZED","message":"action: push"},{"code":"UNKNOWN"}]}`:                                   {http.StatusUnauthorized, true},
		`{"errors":[{"code":"UNSUPPORTED","message":"permission denied: the registry is read-only, and access is denied"}]}`: {http.StatusMethodNotAllowed, false},
		`no JSON: denied`: {http.StatusInternalServerError, false},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case r.Method == http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			default:
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				io.WriteString(w, body)
			}
		}))
		_, err := b.Push(t.Context(), "x:1", strings.TrimPrefix(s.URL, "http://")+"/team/x:1")
		if err == nil || strings.Contains(err.Error(), login) != c.login {
			t.Errorf("%s: %v", body, err)
		}
		s.Close()
	}
}
