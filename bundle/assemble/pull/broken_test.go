package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// ranges are the Range headers with which a blob was asked for.
type ranges struct {
	mu  sync.Mutex
	all []string
}

func (r *ranges) note(req *http.Request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, req.Header.Get("Range"))
	return len(r.all)
}

func (r *ranges) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.all...)
}

func isGetOf(r *http.Request, data []byte) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest.FromBytes(data).String())
}

// sendPart answers with the first n bytes of what was asked for, as if all
// were to follow.
func sendPart(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data[:n])
	w.(http.Flusher).Flush()
}

func TestCutAndStalledTransfersGoOnWhereTheyStopped(t *testing.T) {
	for _, tc := range []struct {
		name string
		idle time.Duration // longer than a busy machine lets a good transfer wait
		end  func(w http.ResponseWriter, r *http.Request)
	}{
		{"cut", 0, func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.Close()
			}
		}},
		{"stalled", 2 * time.Second, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, s := upstreamtest.New(t), newStore(t)
			data := upstreamtest.Layer("long", 400_000)
			u.PushImage(t, "app", "v1", amd64, data)
			var got ranges
			u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if !isGetOf(r, data) || got.note(r) > 1 {
					return false
				}
				sendPart(w, data, 300_000)
				tc.end(w, r)
				return true
			})
			o := options(u)
			o.Idle = tc.idle
			gatherAll(t, s, wanted(u.Ref("app:v1")), o)
			if diff := cmp.Diff([]string{"", "bytes=300000-"}, got.asked()); diff != "" {
				t.Errorf("ranges asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgressCountsAttemptsAnew(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	data := upstreamtest.Layer("bad line", 3_000_000)
	u.PushImage(t, "app", "v1", amd64, data)
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !isGetOf(r, data) {
			return false
		}
		from := 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(data[from:min(from+resumeWorth, len(data))])
		return true // and the connection is cut, twelve times
	})
	o := options(u)
	o.Attempts = 2
	gatherAll(t, s, wanted(u.Ref("app:v1")), o)
}

func TestSendingTheSameAgainIsNoProgress(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	data := upstreamtest.Layer("endless", 3_000_000)
	u.PushImage(t, "app", "v1", amd64, data)
	var got ranges
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !isGetOf(r, data):
			return false
		case got.note(r) > 50:
			return false
		case r.Header.Get("Range") != "":
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		default:
			sendPart(w, data, 2*resumeWorth)
		}
		return true
	})
	if _, err := Gather(t.Context(), s, wanted(u.Ref("app:v1")), options(u)); err == nil || len(got.asked()) > 20 {
		t.Errorf("error is %v after %d requests", err, len(got.asked()))
	}
}

func TestKilledRunIsResumed(t *testing.T) {
	u, root := upstreamtest.New(t), t.TempDir()
	data := upstreamtest.Layer("killed", 400_000)
	u.PushImage(t, "app", "v1", amd64, data)
	first, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got ranges
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !isGetOf(r, data) || got.note(r) > 1 {
			return false
		}
		sendPart(w, data, 250_000)
		for { // until the other side has it
			if p, err := os.Stat(filepath.Join(root, "partial", digest.FromBytes(data).Encoded())); err == nil && p.Size() == 250_000 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err := Gather(ctx, first, wanted(u.Ref("app:v1")), options(u)); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v, want context.Canceled", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	gatherAll(t, second, wanted(u.Ref("app:v1")), options(u))
	if diff := cmp.Diff([]string{"", "bytes=250000-"}, got.asked()); diff != "" {
		t.Errorf("ranges asked for (-want +got):\n%s", diff)
	}
}

func TestDamagedBeginningIsThrownAway(t *testing.T) {
	u, root := upstreamtest.New(t), t.TempDir()
	data := upstreamtest.Layer("damaged", 40_000)
	u.PushImage(t, "app", "v1", amd64, data)
	for _, tc := range []struct {
		name string
		left []byte
	}{
		{"other bytes", make([]byte, 30_000)},
		{"all of it, but wrong", make([]byte, len(data))},
		{"too long", make([]byte, len(data)+1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := store.Open(filepath.Join(root, tc.name))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := os.WriteFile(filepath.Join(s.Root(), "partial", digest.FromBytes(data).Encoded()), tc.left, 0o644); err != nil {
				t.Fatal(err)
			}
			gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
		})
	}
}

func TestRegistryWithoutRanges(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	data := upstreamtest.Layer("no ranges", 40_000)
	u.PushImage(t, "app", "v1", amd64, data)
	var times atomic.Int32
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !isGetOf(r, data) {
			return false
		}
		n := len(data)
		if times.Add(1) == 1 {
			n = 30_000
		}
		sendPart(w, data, n)
		return true
	})
	gatherAll(t, s, wanted(u.Ref("app:v1")), options(u))
}

func TestLimitedRegistryIsLeftAloneWhileOthersArePulledFrom(t *testing.T) {
	limited, open, s := upstreamtest.New(t), upstreamtest.New(t), newStore(t)
	var refs []string
	for i := range 6 {
		name := fmt.Sprintf("app%d:v1", i)
		limited.PushImage(t, strings.TrimSuffix(name, ":v1"), "v1", amd64, upstreamtest.Layer("limited"+name, 1000))
		open.PushImage(t, strings.TrimSuffix(name, ":v1"), "v1", amd64, upstreamtest.Layer("open"+name, 1000))
		refs = append(refs, limited.Ref(name))
	}
	for i := range 6 {
		refs = append(refs, open.Ref(fmt.Sprintf("app%d:v1", i)))
	}
	// The limited one stays closed, a second at a time, until the other has given everything: who waited for it would wait for
	// ever.
	var mu sync.Mutex
	var refused time.Time
	var early, others int
	limited.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasSuffix(r.URL.Path, "/v2/"):
			return false
		case !refused.IsZero() && time.Since(refused) < 900*time.Millisecond:
			early++ // a slow machine makes them only fewer
		}
		if others == 12 {
			return false
		}
		if refused.IsZero() {
			refused = time.Now()
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	open.Misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(r.URL.Path, "/blobs/") {
			others++
		}
		return false
	})
	o := options(limited)
	o.Jobs, o.Attempts = 2, 1 // to be asked to wait is no failure
	gatherAll(t, s, wanted(refs...), o)
	// What was under way when the first was refused may still arrive.
	if early > o.Jobs {
		t.Errorf("%d requests came before the registry wanted any", early)
	}
	if others != 12 || refused.IsZero() {
		t.Errorf("the other registry was asked for %d blobs, want all 12, the limited one refused: %t", others, !refused.IsZero())
	}
}

func TestRegistryThatIsClosedForTooLong(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("x", 100))
	u.Misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", time.Now().Add(6*time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	_, err := Gather(t.Context(), s, wanted(u.Ref("app:v1")), options(u))
	var busy *BusyError
	if !errors.As(err, &busy) || busy.Wait < 5*time.Hour || !strings.Contains(err.Error(), "log in") {
		t.Errorf("error is %v, want how long the registry is closed, and a remedy", err)
	}
}

func TestTokensAreFetchedWithTheLogin(t *testing.T) {
	u, s := upstreamtest.New(t), newStore(t)
	u.PushImage(t, "team/app", "v1", amd64, upstreamtest.Layer("token", 1000))
	var tokens atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "secret" || r.FormValue("scope") != "repository:team/app:pull" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tokens.Add(1)
		_, _ = io.WriteString(w, `{"token":"letmein","expires_in":300}`)
	}))
	t.Cleanup(server.Close)
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer letmein" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"test\"", server.URL+"/token"))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	o := options(u)
	o.System.AuthFilePath = authFile(t, u.Host+"/team", "me", "secret")
	gatherAll(t, s, wanted(u.Ref("team/app:v1")), o)
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens were asked for, want one for everything of a repository", n)
	}
}
