package assemble

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// pushed builds an image that needs what the list names, and pushes it.
func pushed(t *testing.T, b *Builder, to, list string) store.Record {
	t.Helper()
	rec := mustBuild(t, b, BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": []byte("f"), "images/shim/list": []byte(list),
	})})
	if _, err := b.Push(t.Context(), rec.Name, to); err != nil {
		t.Fatal(err)
	}
	return rec
}

// forge writes a list beside an image, as anybody may who can write to its repository.
func forge(t *testing.T, b *Builder, beside string, image digest.Digest, images []store.Pinned) {
	t.Helper()
	list, err := b.attach(store.Record{}, image, images, []v1.Platform{here()})
	if err != nil {
		t.Fatal(err)
	}
	at, err := attachmentRef(beside, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.pushLayout(t.Context(), filepath.Join(t.TempDir(), "forged"), list, []v1.Platform{here()}, at); err != nil {
		t.Fatal(err)
	}
}

func TestAListThatAnotherWroteBesideAnImageIsRefused(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	u.PushImage(t, "app/evil", "v1", here(), upstreamtest.Layer("evil", 1000))
	b, _ := connected(t, u)
	rec := pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	evil := pushed(t, b, u.Ref("team/y:1"), u.Ref("app/evil:v1")+"\n")
	evil.Images[0].Ref = rec.Images[0].Ref // the good name for the evil image
	forge(t, b, u.Ref("team/x:1"), rec.Manifest.Digest, evil.Images)
	for name, fetch := range map[string]func(*Builder) error{
		"pull": func(b *Builder) error {
			_, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("team/x:1")})
			return err
		},
		"FROM by digest": func(b *Builder) error {
			_, err := b.Build(t.Context(), BuildRequest{Name: "z:1", Context: storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM " + u.Ref("team/x@"+rec.Manifest.Digest.String()) + "\nLABEL a=b\n"),
			})})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			other, _ := connected(t, u)
			if err := fetch(other); err == nil || !strings.Contains(err.Error(), "somebody wrote another one beside the image") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestAListOfAnotherImageIsRefused(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	stranger := u.PushImage(t, "team/stranger", "v1", here(), storetest.Layer(t, map[string][]byte{"f": []byte("f")}))
	b, _ := connected(t, u)
	rec := pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	list, err := b.attach(rec, rec.Manifest.Digest, rec.Images, []v1.Platform{here()})
	if err != nil {
		t.Fatal(err)
	}
	at, err := attachmentRef(u.Ref("team/stranger:v1"), stranger.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.pushLayout(t.Context(), filepath.Join(t.TempDir(), "forged"), list, []v1.Platform{here()}, at); err != nil {
		t.Fatal(err)
	}
	other, _ := connected(t, u)
	if _, err := other.Pull(t.Context(), PullRequest{Ref: u.Ref("team/stranger:v1")}); err == nil || !strings.Contains(err.Error(), "is the list of "+rec.Manifest.Digest.String()) {
		t.Errorf("error is %v", err)
	}
}

// An image of another builder says nothing of what it needs: who names it by its digest trusts no list beside it.
func TestADigestIsNotLedElsewhereByATag(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	evil := u.PushImage(t, "app/evil", "v1", here(), upstreamtest.Layer("evil", 1000))
	image := u.PushImage(t, "team/stranger", "v1", here(), storetest.Layer(t, map[string][]byte{"images/shim/list": []byte(u.Ref("app/good:v1") + "\n")}))
	b, _ := connected(t, u)
	rec := pushed(t, b, u.Ref("team/y:1"), u.Ref("app/evil:v1")+"\n")
	rec.Images[0].Ref = u.Ref("app/good:v1")
	if _, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("team/stranger:v1")}); err != nil {
		t.Fatal(err)
	}
	forge(t, b, u.Ref("team/stranger:v1"), image.Digest, rec.Images)
	for ref, want := range map[string]bool{"team/stranger@" + image.Digest.String(): false, "team/stranger:v1": true} {
		other, _ := connected(t, u)
		built := mustBuild(t, other, BuildRequest{Name: "z:1", Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM " + u.Ref(ref) + "\nLABEL a=b\n"),
		})})
		if got := imageNamed(t, built, u.Ref("app/good:v1")).Digest == evil.Digest; got != want {
			t.Errorf("%s: the list counts: %v, want %v", ref, got, want)
		}
	}
}

func TestWhatAListBringsObeysThePolicy(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	b, _ := connected(t, u)
	pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	for scope, refused := range map[string]bool{"/app/good": true, "/app/other": false} {
		other, _ := connected(t, u)
		policy := filepath.Join(t.TempDir(), "policy.json")
		text := `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"` + u.Host + scope + `":[{"type":"reject"}]}}}`
		if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		other.System.SignaturePolicyPath = policy
		u.Counts()
		_, err := other.Pull(t.Context(), PullRequest{Ref: u.Ref("team/x:1")})
		if got := err != nil && strings.Contains(err.Error(), "brings "+u.Ref("app/good:v1")); got != refused || !refused && err != nil {
			t.Errorf("%s: error is %v", scope, err)
		}
	}
}

func TestWhatAListBringsIsShown(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	b, _ := connected(t, u)
	rec := pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	other, _ := connected(t, u)
	if _, err := other.Pull(t.Context(), PullRequest{Ref: u.Ref("team/x:1")}); err != nil {
		t.Fatal(err)
	}
	want := []string{"with " + u.Ref("team/x:1") + " comes " + rec.Images[0].Ref + ", " + rec.Images[0].Digest.String()}
	if diff := cmp.Diff(want, other.Report.(*notes).text); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// What an image needs is in its digest, and builders that build upon it make no lie of that.
func TestAnImageSaysWhatItNeeds(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	u.PushImage(t, "app/other", "v1", here(), upstreamtest.Layer("other", 1000))
	b, _ := connected(t, u)
	one := pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	two := pushed(t, b, u.Ref("team/x:2"), u.Ref("app/other:v1")+"\n")
	if one.Manifest.Digest == two.Manifest.Digest {
		t.Error("images that need different images have one digest")
	}
	upon := mustBuild(t, b, BuildRequest{Name: "upon:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM " + u.Ref("team/x:1") + "\nCOPY g /\n"), "g": []byte("g"),
	})})
	if _, err := b.Push(t.Context(), upon.Name, u.Ref("team/upon:1")); err != nil {
		t.Fatal(err)
	}
	other, _ := connected(t, u)
	pulled, err := other.Pull(t.Context(), PullRequest{Ref: u.Ref("team/upon:1")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(refs(upon.Images), refs(pulled.Images)); diff != "" {
		t.Errorf("images (-built +pulled):\n%s", diff)
	}
}

// What was pulled for some of its platforms can be pushed: to a registry that wants every image of an index, as an index of those.
func TestAnImageThatWasPulledForSomePlatformsIsPushed(t *testing.T) {
	u, site := upstreamtest.New(t), upstreamtest.New(t)
	var children []v1.Descriptor
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		p := v1.Platform{OS: "linux", Architecture: arch}
		u.PushImage(t, "app/x", arch, p, upstreamtest.Layer(arch, 1000))
		layer := storetest.Layer(t, map[string][]byte{"images/shim/list": []byte(u.Ref("app/x:"+arch) + "\n")})
		children = append(children, u.PushImage(t, "team/x", "", p, layer))
	}
	index := u.PushIndex(t, "team/x", "v1", children...)
	b, _ := connected(t, u)
	both := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	pulled, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("team/x:v1"), Platforms: both})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Push(t.Context(), u.Ref("team/x:v1"), site.Ref("team/x:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest == index {
		t.Errorf("pushed %s, an index of images that are not there", p.Digest)
	}
	for name, platforms := range map[string][]v1.Platform{"both": both, "one": both[1:]} {
		other, _ := connected(t, site)
		again, err := other.Pull(t.Context(), PullRequest{Ref: site.Ref("team/x:v1"), Platforms: platforms})
		if err != nil {
			t.Fatal(err)
		}
		want := pulled.Images
		if name == "one" {
			want = pulled.Images[1:]
		}
		if diff := cmp.Diff(want, again.Images); diff != "" {
			t.Errorf("%s: images (-pulled +pulled again):\n%s", name, diff)
		}
		if name == "one" && again.Manifest.Digest != children[1].Digest {
			t.Errorf("the image for linux/arm64 is %s, want %s", again.Manifest.Digest, children[1].Digest)
		}
	}
}

// Tools that copy an image with what refers to it need not copy tags.
func TestAListIsFoundByTheReferrersAPI(t *testing.T) {
	u, site := upstreamtest.New(t), upstreamtest.New(t)
	u.PushImage(t, "app/good", "v1", here(), upstreamtest.Layer("good", 1000))
	b, _ := connected(t, u)
	rec := pushed(t, b, u.Ref("team/x:1"), u.Ref("app/good:v1")+"\n")
	// The image and its list are at the other registry, and no tag of the list.
	list, err := b.attach(rec, rec.Manifest.Digest, rec.Images, []v1.Platform{here()})
	if err != nil {
		t.Fatal(err)
	}
	for to, root := range map[string]v1.Descriptor{"team/x:1": rec.Manifest, "team/x:unnamed": list} {
		if err := b.pushLayout(t.Context(), filepath.Join(t.TempDir(), "copy"), root, []v1.Platform{here()}, site.Ref(to)); err != nil {
			t.Fatal(err)
		}
	}
	asked := false
	site.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/team/x/referrers/"+rec.Manifest.Digest.String() {
			return false
		}
		asked = true
		other := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("another"), Size: 1, ArtifactType: "text/other"}
		named := list
		named.ArtifactType = attachmentType
		w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
		_ = json.NewEncoder(w).Encode(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{other, named}})
		return true
	})
	other, _ := connected(t, site)
	pulled, err := other.Pull(t.Context(), PullRequest{Ref: site.Ref("team/x:1")})
	if err != nil {
		t.Fatal(err)
	}
	if !asked {
		t.Error("the registry was not asked for what refers to the image")
	}
	if diff := cmp.Diff(rec.Images, pulled.Images); diff != "" {
		t.Errorf("images (-pushed +pulled):\n%s", diff)
	}
}
