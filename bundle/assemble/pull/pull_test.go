package pull

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func options(u *upstreamtest.Upstream) Options {
	return Options{
		Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}},
		System:    u.System(),
		Backoff:   time.Millisecond,
		Jobs:      4,
	}
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func wanted(refs ...string) []Wanted {
	var all []Wanted
	for i, r := range refs {
		all = append(all, Wanted{Ref: r, Places: []store.Found{{Ref: r, File: "manifests/app.yaml", Line: i + 1}}})
	}
	return all
}

func gatherAll(t *testing.T, s *store.Store, w []Wanted, o Options) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := Gather(ctx, s, w, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSecondRunDownloadsNoBlob(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	amd := v1.Platform{OS: "linux", Architecture: "amd64"}
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	u.PushImage(t, "app/one", "v1", amd, upstreamtest.Layer("one", 5000), upstreamtest.Layer("base", 9000))
	a := u.PushImage(t, "app/multi", "", amd, upstreamtest.Layer("multi-amd", 3000))
	b := u.PushImage(t, "app/multi", "", arm, upstreamtest.Layer("multi-arm", 3000))
	index := u.PushIndex(t, "app/multi", "v2", a, b)
	u.Counts()

	refs := wanted(u.Ref("app/one:v1"), u.Ref("app/multi:v2"), u.Ref("app/multi@"+index.String()), u.Ref("app/multi:v2@"+index.String()))
	first := gatherAll(t, s, refs, options(u))
	if got := u.Counts(); got["GET blob"] != 5 {
		t.Errorf("first run asked for %v, want 5 blobs: 2 configs and 3 layers", got)
	}
	if first.Blobs != 5 {
		t.Errorf("first run reports %d blobs, want 5", first.Blobs)
	}
	second := gatherAll(t, s, refs, options(u))
	if got := u.Counts(); got["GET blob"] != 0 || got["GET manifest"] != 2 {
		t.Errorf("second run asked for %v, want one manifest for each of two tags and no blob", got)
	}
	if diff := cmp.Diff(first.Images, second.Images); diff != "" {
		t.Errorf("images differ (-first +second):\n%s", diff)
	}
	for _, p := range first.Images {
		if diff := cmp.Diff([]string{"linux/amd64"}, p.Platforms); diff != "" {
			t.Errorf("%s: platforms (-want +got):\n%s", p.Ref, diff)
		}
		if strings.Contains(p.Ref, "multi") && p.Digest != index {
			t.Errorf("%s: digest %s, want that of the index, %s", p.Ref, p.Digest, index)
		}
	}
}

func TestSharedBlobIsDownloadedOnce(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	amd := v1.Platform{OS: "linux", Architecture: "amd64"}
	var refs []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		u.PushImage(t, "shared/"+name, "v1", amd, upstreamtest.Layer("same", 200_000), upstreamtest.Layer(name, 1000))
		refs = append(refs, u.Ref("shared/"+name+":v1"))
	}
	shared := v1.Descriptor{Digest: digest.FromBytes(upstreamtest.Layer("same", 200_000))}
	var times atomic.Int32
	u.Misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, shared.Digest.String()) {
			times.Add(1)
		}
		return false
	})
	gatherAll(t, s, wanted(refs...), options(u))
	if n := times.Load(); n != 1 {
		t.Errorf("the shared layer was asked for %d times, want once", n)
	}
}

func TestMissingImageIsReportedAfterTheOthersCame(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	amd := v1.Platform{OS: "linux", Architecture: "amd64"}
	u.PushImage(t, "good", "v1", amd, upstreamtest.Layer("good", 1000))
	u.PushImage(t, "arm", "v1", amd, upstreamtest.Layer("arm", 1000))
	child := u.PushImage(t, "arm", "", v1.Platform{OS: "linux", Architecture: "arm64"}, upstreamtest.Layer("arm64", 1000))
	u.PushIndex(t, "arm", "only", child)

	w := wanted(u.Ref("gone:v1"), u.Ref("good:v1"), u.Ref("good:v2"), u.Ref("arm:only"))
	r, err := Gather(t.Context(), s, w, options(u))
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("error is %v, want *Error", err)
	}
	if len(failed.Failures) != 3 {
		t.Errorf("%d failures, want 3: %v", len(failed.Failures), err)
	}
	for _, part := range []string{"gone:v1 from manifests/app.yaml:1", "good:v2 from manifests/app.yaml:3", "no image for linux/amd64; it exists for linux/arm64"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error lacks %q:\n%v", part, err)
		}
	}
	if len(r.Images) != 1 || r.Images[0].Ref != u.Ref("good:v1") {
		t.Errorf("gathered %v, want good:v1 alone", r.Images)
	}
	u.Counts()
	gatherAll(t, s, wanted(u.Ref("good:v1")), options(u))
	if got := u.Counts(); got["GET blob"] != 0 {
		t.Errorf("what came was not kept: %v", got)
	}
}

func TestSuspectedReferenceMayBeAbsent(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "real", "v1", v1.Platform{OS: "linux", Architecture: "amd64"}, upstreamtest.Layer("x", 100))
	w := wanted(u.Ref("real:v1"), u.Ref("prose:text"))
	w[0].Suspected, w[1].Suspected = true, true
	r := gatherAll(t, s, w, options(u))
	if len(r.Images) != 1 || len(r.Absent) != 1 || r.Absent[0].Ref != u.Ref("prose:text") {
		t.Errorf("images %v, absent %v; want real:v1 and prose:text", r.Images, r.Absent)
	}
}

func TestOneTroubledMirrorMayHaveTheImage(t *testing.T) {
	unknown := &net.DNSError{IsNotFound: true}
	gone, trouble := &StatusError{Status: http.StatusNotFound}, &StatusError{Status: http.StatusBadGateway}
	for _, tc := range []struct {
		err             error
		absent, missing bool
	}{
		{&mirrorsError{registry: gone, mirrors: []error{trouble}}, true, true},
		{&mirrorsError{registry: unknown, mirrors: []error{gone}}, true, true},
		{&mirrorsError{registry: unknown, mirrors: []error{trouble}}, false, false},
		{&mirrorsError{registry: trouble, mirrors: []error{gone}}, false, false},
		{unknown, true, false},
		{&net.DNSError{IsTimeout: true}, false, false},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, false, false},
	} {
		if definite(tc.err) != tc.absent || NotFound(tc.err) != tc.missing {
			t.Errorf("%v: definite %v, not found %v", tc.err, definite(tc.err), NotFound(tc.err))
		}
	}
}

func TestBrokenTransfersAreTriedAgain(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	data := upstreamtest.Layer("flaky", 300_000)
	u.PushImage(t, "flaky", "v1", v1.Platform{OS: "linux", Architecture: "amd64"}, data)
	var tries atomic.Int32
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.FromBytes(data).String()) {
			return false
		}
		switch tries.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2: // other bytes
			bad := append([]byte(nil), data...)
			bad[7] ^= 1
			_, _ = w.Write(bad)
		case 3: // silence
			w.Header().Set("Content-Length", "300000")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			return false
		}
		return true
	})
	o := options(u)
	o.Idle = 2 * time.Second
	gatherAll(t, s, wanted(u.Ref("flaky:v1")), o)
	if n := tries.Load(); n != 4 {
		t.Errorf("layer was asked for %d times, want 4", n)
	}
	if _, ok := s.Has(digest.FromBytes(data)); !ok {
		t.Error("layer is not in the store")
	}
}

func TestAnotherRepositoryServesABlobOneRefuses(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	amd := v1.Platform{OS: "linux", Architecture: "amd64"}
	data := upstreamtest.Layer("same", 1000)
	u.PushImage(t, "closed", "v1", amd, data)
	u.PushImage(t, "open", "v1", amd, data, upstreamtest.Layer("own", 50))
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v2/closed/blobs/"+digest.FromBytes(data).String()) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	o := options(u)
	o.Jobs = 1 // both images wait for the blob before it is asked for
	gatherAll(t, s, wanted(u.Ref("closed:v1"), u.Ref("open:v1")), o)
}

func TestAnotherRepositoryServesAConfigOneRefuses(t *testing.T) {
	u := upstreamtest.New(t)
	d := u.PushImage(t, "closed", "v1", arm64, upstreamtest.Layer("same config", 1000))
	u.PushImage(t, "open", "v1", arm64, upstreamtest.Layer("same config", 1000))
	config, err := ocigraph.Parse(d.Digest, manifestOf(t, u, "open", d, arm64))
	if err != nil {
		t.Fatal(err)
	}
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/closed/blobs/"+config.Config.Digest.String() {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	for _, p := range []v1.Platform{arm64, amd64} {
		o := options(u)
		o.Platforms, o.Jobs = []v1.Platform{p}, 1
		r, err := Gather(t.Context(), newStore(t), wanted(u.Ref("closed:v1"), u.Ref("open:v1")), o)
		if p.Architecture == "arm64" && (err != nil || len(r.Images) != 2) {
			t.Errorf("%v: %v", r.Images, err)
		}
		if other := new(PlatformError); p.Architecture == "amd64" && !errors.As(err, &other) {
			t.Errorf("for another platform: error is %v", err)
		}
	}
}

func TestCancelledGatherEnds(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "slow", "v1", v1.Platform{OS: "linux", Architecture: "amd64"}, upstreamtest.Layer("slow", 1000))
	ctx, cancel := context.WithCancel(t.Context())
	u.Misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err := Gather(ctx, s, wanted(u.Ref("slow:v1")), options(u)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestBadReferencesAreFailures(t *testing.T) {
	s := newStore(t)
	_, err := Gather(t.Context(), s, []Wanted{{Ref: "UPPER/case:x"}, {Ref: "a b", Places: []store.Found{{File: "x", Line: 3}}}}, Options{})
	var failed *Error
	if !errors.As(err, &failed) || len(failed.Failures) != 2 {
		t.Fatalf("error is %v, want two failures", err)
	}
}
