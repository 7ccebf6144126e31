package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// tokenServer gives tokens by handler, and makes u ask for the one that is
// good now.
func tokenServer(t *testing.T, u *upstreamtest.Upstream, good func() string, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+good() {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"test\"", server.URL+"/token"))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

func TestTokenThatIsNoLongerTakenIsRenewedOnce(t *testing.T) {
	for name, renewed := range map[string]bool{"a new one is taken": true, "no other is taken": false} {
		t.Run(name, func(t *testing.T) {
			u := upstreamtest.New(t)
			u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("renewed", 1000))
			var given, current atomic.Int32
			tokenServer(t, u, func() string { return fmt.Sprint("token", current.Load()) }, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"token":"token%d","expires_in":3600}`, given.Add(1))
			})
			current.Store(1)
			o := options(u)
			o.Attempts = 1
			g, err := newGatherer(newStore(t), o.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			defer g.remotes.close()
			w := wanted(u.Ref("app:v1"))[0]
			ask := func() error {
				_, _, err := g.describe(t.Context(), w)
				return err
			}
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			current.Store(map[bool]int32{true: 2, false: 9}[renewed])
			if err := ask(); (err == nil) != renewed {
				t.Errorf("error is %v", err)
			}
			if n := given.Load(); n != 2 {
				t.Errorf("%d tokens were asked for, want one and its renewal", n)
			}
		})
	}
}

// TestTokensThatLastForOneRequest: whatever is asked for needs a token of its own, and goes on where it was.
func TestTokensThatLastForOneRequest(t *testing.T) {
	for name, stale := range map[string]int32{"renewed at once": 0, "the old one is given once more": 1} {
		t.Run(name, func(t *testing.T) {
			u := upstreamtest.New(t)
			data := upstreamtest.Layer("short life", 2_000_000)
			u.PushImage(t, "app", "v1", amd64, data)
			var mu sync.Mutex
			var given, again int32
			used := map[string]bool{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if given > 0 && again < stale {
					again++
				} else {
					given, again = given+1, 0
				}
				_, _ = fmt.Fprintf(w, `{"token":"token%d","expires_in":1}`, given)
			}))
			t.Cleanup(server.Close)
			var got ranges
			u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				token := r.Header.Get("Authorization")
				if token == "" || used[token] {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"test\"", server.URL+"/token"))
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				used[token] = true
				if !isGetOf(r, data) {
					return false
				}
				got.note(r)
				from := 0
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
				w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				_, _ = w.Write(data[from:min(from+500_000, len(data))])
				return true // and the connection is cut
			})
			o := options(u)
			o.Jobs = 1
			gatherAll(t, newStore(t), wanted(u.Ref("app:v1")), o)
			if diff := cmp.Diff([]string{"", "bytes=500000-", "bytes=1000000-", "bytes=1500000-", "bytes=2000000-"}, got.asked()); diff != "" {
				t.Errorf("ranges asked for (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSharedRenewalThatOneRequestUsesUp: two that were refused together share the new token, and the second to use it is refused.
func TestSharedRenewalThatOneRequestUsesUp(t *testing.T) {
	u := upstreamtest.New(t)
	one, other := upstreamtest.Layer("one of two", 1000), upstreamtest.Layer("two of two", 1000)
	u.PushImage(t, "app", "v1", amd64, one, other)
	var mu sync.Mutex
	var given, refused, second int
	both := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		given++
		n := given
		mu.Unlock()
		if n == 2 {
			<-both // both layers wait for this one
		}
		_, _ = fmt.Fprintf(w, `{"token":"token%d"}`, n)
	}))
	t.Cleanup(server.Close)
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		layer := isGetOf(r, one) || isGetOf(r, other)
		mu.Lock()
		defer mu.Unlock()
		switch token := r.Header.Get("Authorization"); {
		case r.URL.Path == "/v2/":
			return false
		case token == "Bearer token1" && !layer, token > "Bearer token2":
			return false
		case token == "Bearer token2":
			if second++; second == 1 {
				return false
			}
		case token == "Bearer token1":
			if refused++; refused == 2 {
				close(both)
			}
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=\"test\"", server.URL+"/token"))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	gatherAll(t, newStore(t), wanted(u.Ref("app:v1")), options(u))
}

func TestRefusalOfTheTokenServer(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		says   string // else, beside the server's name
	}{
		"no such user":       {http.StatusUnauthorized, `{"details":"incorrect username or password"}`, "needs a login"},
		"no access":          {http.StatusForbidden, "", "needs a login"},
		"said by code alone": {http.StatusBadRequest, `{"errors":[{"code":"DENIED","message":"not yours"}]}`, "denied: not yours"},
		"not there":          {http.StatusNotFound, "", "needs a login"},
		"in trouble":         {http.StatusBadGateway, "", "502 Bad Gateway"},
		"limits its clients": {http.StatusTooManyRequests, "", "limits how often it is asked (log in"},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstreamtest.New(t)
			u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("refused", 1000))
			var host atomic.Value
			tokenServer(t, u, func() string { return "none" }, func(w http.ResponseWriter, r *http.Request) {
				host.Store(r.Host)
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			w := wanted(u.Ref("app:v1"))
			_, err := Gather(t.Context(), newStore(t), w, options(u))
			if err == nil || NotFound(err) || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), fmt.Sprint(host.Load())) {
				t.Errorf("error is %v, want one of %v that says %q", err, host.Load(), tc.says)
			}
			w[0].Suspected = true
			// Who refuses may well have it.
			if r, err := Gather(t.Context(), newStore(t), w, options(u)); err == nil || len(r.Absent) > 0 {
				t.Errorf("suspected: absent %v, error %v", r.Absent, err)
			}
		})
	}
}

func TestLoginStaysWithItsRegistry(t *testing.T) {
	u := upstreamtest.NewSecure(t, "me", "secret")
	data := upstreamtest.Layer("elsewhere", 1000)
	u.PushImage(t, "app", "v1", amd64, data)
	var told atomic.Bool
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told.Store(told.Load() || r.Header.Get("Authorization") != "")
		_, _ = w.Write(data)
	}))
	t.Cleanup(storage.Close)
	var sent atomic.Bool
	u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password != "secret" || !isGetOf(r, data) {
			return false
		}
		sent.Store(true)
		http.Redirect(w, r, storage.URL, http.StatusTemporaryRedirect)
		return true
	})
	o := options(u)
	o.System.AuthFilePath = authFile(t, u.Host, "me", "secret")
	gatherAll(t, newStore(t), wanted(u.Ref("app:v1")), o)
	if !sent.Load() || told.Load() {
		t.Errorf("sent elsewhere %t, with the login %t", sent.Load(), told.Load())
	}
}

func TestHalfALoginIsNone(t *testing.T) {
	u := upstreamtest.NewSecure(t, "me", "secret")
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("half", 1000))
	o := options(u)
	o.System.AuthFilePath = authFile(t, u.Host, "me", "")
	_, err := Gather(t.Context(), newStore(t), wanted(u.Ref("app:v1")), o)
	var failed *Error
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "needs a login") {
		t.Errorf("error is %v, want that a login is needed", err)
	}
}

func TestLoginThatAnotherRequestGaveUpIsTriedAgain(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app", "v1", amd64, upstreamtest.Layer("shared login", 1000))
	begun := make(chan bool, 1)
	var given atomic.Int32
	tokenServer(t, u, func() string { return "good" }, func(w http.ResponseWriter, r *http.Request) {
		if given.Add(1) == 1 {
			begun <- true
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"token":"good"}`)
	})
	g, err := newGatherer(newStore(t), options(u).withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer g.remotes.close()
	named, err := reference.ParseNormalizedNamed(u.Ref("app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := g.remotes.locate(named)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context) error {
		_, _, err := readManifest(ctx, at[0], "")
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- ask(ctx) }()
	<-begun
	u.Counts()
	go func() { second <- ask(t.Context()) }()
	for u.Counts()["GET manifest"] == 0 { // from now on it waits for the first, or soon will
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: error is %v, want that it was cancelled", err)
	}
	if err := <-second; err != nil && !transient(err) {
		t.Errorf("the second: error is %v, want none or one that is worth another try", err)
	}
	if err := ask(t.Context()); err != nil {
		t.Errorf("the third: %v", err)
	}
}
