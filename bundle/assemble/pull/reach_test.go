package pull

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authFile is what `docker login` leaves.
func authFile(t *testing.T, registry, user, password string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"auths": map[string]any{
		registry: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "auth.json"), string(text))
}

func TestPrivateAuthorityAndLogin(t *testing.T) {
	u := upstreamtest.NewSecure(t, "me", "secret")
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("secure", 2000))
	certs := t.TempDir()
	writeFile(t, filepath.Join(certs, u.Host, "ca.crt"), string(u.CACert))
	system := func() *types.SystemContext {
		s := u.System()
		s.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
		s.DockerPerHostCertDirPath = certs
		s.AuthFilePath = authFile(t, u.Host, "me", "secret")
		return s
	}
	for _, tc := range []struct {
		name   string
		change func(*types.SystemContext)
		remedy string
	}{
		{"both", func(*types.SystemContext) {}, ""},
		{"no login", func(s *types.SystemContext) { s.AuthFilePath = "/nonexistent" }, "needs a login"},
		{"wrong password", func(s *types.SystemContext) { s.AuthFilePath = authFile(t, u.Host, "me", "guess") }, "needs a login"},
		{"no authority", func(s *types.SystemContext) { s.DockerPerHostCertDirPath = "/nonexistent" }, "certs.d"},
		{"not verified", func(s *types.SystemContext) {
			s.DockerPerHostCertDirPath, s.DockerInsecureSkipTLSVerify = "/nonexistent", types.OptionalBoolTrue
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := options(u)
			o.System = system()
			tc.change(o.System)
			_, err := Gather(t.Context(), newStore(t), wanted(u.Ref("app:v1")), o)
			switch {
			case tc.remedy == "" && err != nil:
				t.Error(err)
			case tc.remedy != "" && (err == nil || !strings.Contains(err.Error(), tc.remedy)):
				t.Errorf("error is %v, want one that says %q", err, tc.remedy)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestMirrorsAreAskedFirst(t *testing.T) {
	mirror, origin := upstreamtest.New(t), upstreamtest.New(t)
	both, only := upstreamtest.Layer("both", 1000), upstreamtest.Layer("only", 1000)
	for _, u := range []*upstreamtest.Upstream{mirror, origin} {
		u.PushImage(t, map[bool]string{true: "cache/team/both", false: "team/both"}[u == mirror], "v1", amd64, both)
	}
	origin.PushImage(t, "team/only", "v1", amd64, only)
	mirror.PushImage(t, "secret/only", "v1", amd64, upstreamtest.Layer("secret", 1000))
	mirror.Counts()
	origin.Counts()
	o := options(mirror)
	o.System.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
	o.System.SystemRegistriesConfPath = writeFile(t, filepath.Join(t.TempDir(), "registries.conf"), fmt.Sprintf(`
[[registry]]
prefix = "registry.example.com/team"
location = "%[1]s/team"
insecure = true
[[registry.mirror]]
location = "%[2]s/cache/team"
insecure = true
[[registry.mirror]]
location = "%[2]s/secret"
insecure = true
[[registry]]
prefix = "blocked.example.com"
location = "blocked.example.com"
blocked = true
[[registry]]
location = "%[2]s/secret"
blocked = true
`, origin.Host, mirror.Host))
	r, err := Gather(t.Context(), newStore(t), wanted("registry.example.com/team/both:v1", "registry.example.com/team/only:v1", "blocked.example.com/x:v1"), o)
	var failed *Error
	if !errors.As(err, &failed) || len(failed.Failures) != 1 || !strings.Contains(err.Error(), "is blocked") {
		t.Errorf("error is %v, want the blocked one alone", err)
	}
	if len(r.Images) != 2 || r.Images[0].Ref != "registry.example.com/team/both:v1" {
		t.Errorf("images are %v, want both under the name that was asked for", r.Images)
	}
	if got := origin.Counts(); got["GET blob"] != 2 {
		t.Errorf("the registry itself was asked for %v, want only what its mirror lacks, or is blocked there", got)
	}
}

// TestInsecureIsSaidOfAPrefix: one prefix of a registry may be trusted blindly
// and another not, whichever is asked first.
func TestInsecureIsSaidOfAPrefix(t *testing.T) {
	u := upstreamtest.NewSecure(t, "me", "secret")
	for _, repository := range []string{"open/app", "open/closed/app", "app"} {
		u.PushImage(t, repository, "v1", amd64, upstreamtest.Layer(repository, 1000))
	}
	o := options(u)
	o.System.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
	o.System.DockerPerHostCertDirPath = "/nonexistent"
	o.System.AuthFilePath = authFile(t, u.Host, "me", "secret")
	o.System.SystemRegistriesConfPath = writeFile(t, filepath.Join(t.TempDir(), "registries.conf"), fmt.Sprintf(`
[[registry]]
location = "%[1]s/open"
insecure = true
[[registry]]
location = "%[1]s/open/closed"
[[registry]]
prefix = "registry.example.com"
location = "registry.example.com"
[[registry.mirror]]
location = "%[1]s/open/closed"
[[registry.mirror]]
location = "%[1]s/open"
insecure = true
`, u.Host))
	open, mirrored := u.Ref("open/app:v1"), "registry.example.com/app:v1"
	longer, outside := u.Ref("open/closed/app:v1"), u.Ref("app:v1")
	o.Jobs = 1 // so that each order is one
	for _, order := range [][]string{{open, longer, outside, mirrored}, {outside, longer, mirrored, open}} {
		r, err := Gather(t.Context(), newStore(t), wanted(order...), o)
		var failed *Error
		if !errors.As(err, &failed) {
			t.Fatalf("%v: error is %v, want that of the prefixes that are to be verified", order, err)
		}
		var got, refused []string
		for _, i := range r.Images {
			got = append(got, i.Ref)
		}
		for _, f := range failed.Failures {
			refused = append(refused, f.Ref)
		}
		want := []string{open, mirrored}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: pulled (-want +got):\n%s", order, diff)
		}
		want = []string{longer, outside}
		slices.Sort(want)
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("%v: refused (-want +got):\n%s", order, diff)
		}
	}
}

func TestRecordedTagIsOnlyLookedAt(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	first := u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("first", 1000))
	r := gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
	if err := s.Save(store.Record{Name: "cluster:v1", Manifest: first, Images: r.Images}); err != nil {
		t.Fatal(err)
	}
	u.Counts()
	again := gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
	if diff := cmp.Diff(map[string]int{"GET other": 1, "HEAD manifest": 1}, u.Counts()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(r.Images, again.Images); diff != "" {
		t.Errorf("images (-first +second):\n%s", diff)
	}
	pinned := u.Ref("app:v1@" + first.Digest.String())
	gatherAll(t, s, wanted(pinned), options(u))
	if diff := cmp.Diff(map[string]int{}, u.Counts()); diff != "" {
		t.Errorf("for a digest that is there was asked (-want +got):\n%s", diff)
	}
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("second", 1000))
	moved := gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
	if moved.Images[0].Digest == first.Digest {
		t.Error("the tag moved, and the old image was taken")
	}
}

func TestExactlyTheWantedPlatforms(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	arm64 := v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	riscv := v1.Platform{OS: "linux", Architecture: "riscv64"}
	a := u.PushImage(t, "app", "", amd64, upstreamtest.Layer("amd", 1000))
	b := u.PushImage(t, "app", "", arm64, upstreamtest.Layer("arm", 1000))
	c := u.PushImage(t, "app", "", riscv, upstreamtest.Layer("riscv", 1000))
	proof := u.PushImage(t, "app", "", v1.Platform{OS: "unknown", Architecture: "unknown"}, upstreamtest.Layer("attestation", 500))
	proof.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": a.Digest.String()}
	index := u.PushIndex(t, "app", "v1", a, b, c, proof)
	gather := func(platforms ...v1.Platform) store.Pinned {
		o := options(u)
		o.Platforms = platforms
		return gatherAll(t, s, wanted(u.Ref("app:v1")), o).Images[0]
	}
	one := gather(amd64)
	two := gather(amd64, v1.Platform{OS: "linux", Architecture: "arm64"})
	// The store holds more by now.
	again := gather(amd64)
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("what the store holds besides changes an image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64/v8"}, two.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	for p, want := range map[*store.Pinned]int{&one: 4, &two: 7} {
		if p.Digest != index {
			t.Errorf("digest is %s, want that of the whole index, %s", p.Digest, index)
		}
		blobs, err := s.Walk(v1.Descriptor{Digest: p.Digest}, p.Platforms...)
		if err != nil {
			t.Fatal(err)
		}
		if len(blobs) != want || store.Size(blobs) != p.Size {
			t.Errorf("%v: %d blobs of %d bytes, want %d of %d", p.Platforms, len(blobs), store.Size(blobs), want, p.Size)
		}
	}
	for what, d := range map[string]v1.Descriptor{"the third platform": c, "the attestation": proof} {
		if _, ok := s.Has(d.Digest); ok {
			t.Errorf("%s was fetched", what)
		}
	}
}

func TestRegistryThatAsksForALoginLate(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("late", 1000))
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password == "secret" || strings.HasSuffix(r.URL.Path, "/v2/") {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="late"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	o := options(u)
	o.System.AuthFilePath = authFile(t, u.Host, "me", "secret")
	gatherAll(t, s, wanted(u.Ref("app:v1")), o)
}

func TestManifestsWithoutTheirMediaType(t *testing.T) {
	for _, mediaType := range []string{"text/plain; charset=utf-8", "application/json", "", v1.MediaTypeImageManifest + "; charset=utf-8"} {
		u, s := upstreamtest.New(t), newStore(t)
		d := u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("type", 1000))
		raw := manifestOf(t, u, "app", d)
		u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header()["Content-Type"] = []string{mediaType}
			_, _ = w.Write(raw)
			return true
		})
		r := gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
		if got := r.Images[0].MediaType; got != v1.MediaTypeImageManifest {
			t.Errorf("sent as %q: media type is %q", mediaType, got)
		}
	}
}

func TestAPinOfAnyAlgorithmIsVerified(t *testing.T) {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		u, s := upstreamtest.New(t), newStore(t)
		right := manifestOf(t, u, "app", u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("right", 1000)))
		other := manifestOf(t, u, "app", u.PushImage(t, "app", "v2", amd64, upstreamtest.Layer("other", 1000)))
		sent := other
		u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			_, _ = w.Write(sent)
			return true
		})
		ref := u.Ref("app@" + algorithm.FromBytes(right).String())
		o := options(u)
		o.Attempts = 1
		if _, err := Gather(t.Context(), s, wanted(ref), o); err == nil || !strings.Contains(err.Error(), algorithm.FromBytes(other).String()) {
			t.Errorf("another manifest under a pin of %s: %v", algorithm, err)
		}
		sent = right
		if r := gatherAll(t, s, wanted(ref), o); r.Images[0].Digest != digest.FromBytes(right) {
			t.Errorf("%s: got %s", algorithm, r.Images[0].Digest)
		}
	}
}

// manifestOf reads a manifest as a client of the registry.
func manifestOf(t *testing.T, u *upstreamtest.Upstream, repository string, d v1.Descriptor, platforms ...v1.Platform) []byte {
	t.Helper()
	s, o := newStore(t), options(u)
	if len(platforms) > 0 {
		o.Platforms = platforms
	}
	gatherAll(t, s, wanted(u.Ref(repository+"@"+d.Digest.String())), o)
	raw, err := s.ReadBlob(d.Digest, ocigraph.MaxManifest)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
