package pull

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// suspect gathers one suspected reference.
func suspect(t *testing.T, ref string, o Options) (Result, error) {
	t.Helper()
	w := wanted(ref)
	w[0].Suspected = true
	return Gather(t.Context(), newStore(t), w, o)
}

func TestSuspectedReferenceIsAbsentWhereItIsSaidNotToBe(t *testing.T) {
	for status, absent := range map[int]bool{
		http.StatusNotFound: true, http.StatusForbidden: false, http.StatusUnauthorized: false,
		http.StatusServiceUnavailable: false, http.StatusTooManyRequests: false,
	} {
		u := upstreamtest.New(t)
		u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.WriteHeader(status)
			return true
		})
		r, err := suspect(t, u.Ref("app:v1"), options(u))
		if (err == nil) != absent || absent != (len(r.Absent) == 1) {
			t.Errorf("%d: absent %v, error %v", status, r.Absent, err)
		}
		if status/100 == 4 && status < 404 && (!strings.Contains(err.Error(), "sealbuild login "+u.Host) || !strings.Contains(err.Error(), ".sealignore")) {
			t.Errorf("%d: the error names no remedy: %v", status, err)
		}
		o := options(u)
		o.Lenient = true
		if r, err := suspect(t, u.Ref("app:v1"), o); err != nil || len(r.Absent) != 1 {
			t.Errorf("%d, to be ignored: absent %v, error %v", status, r.Absent, err)
		}
	}
}

func TestRegistryThatWantsALoginMayHaveASuspectedImage(t *testing.T) {
	u := upstreamtest.NewSecure(t, "me", "secret")
	_, err := suspect(t, u.Ref("app:v1"), options(u))
	if err == nil || !strings.Contains(err.Error(), "sealbuild login "+u.Host) {
		t.Errorf("error is %v, want one that says to log in", err)
	}
	o := options(u)
	o.System.AuthFilePath = authFile(t, u.Host, "me", "secret")
	if r, err := suspect(t, u.Ref("app:v1"), o); err != nil || len(r.Absent) != 1 {
		t.Errorf("logged in: absent %v, error %v", r.Absent, err)
	}
}

// TestRegistriesThatDenyWhatTheyDoNotHave asks them by their names, through a proxy that answers as they do.
func TestRegistriesThatDenyWhatTheyDoNotHave(t *testing.T) {
	var answer http.HandlerFunc
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.URL.Path == "/v2/":
		default:
			answer(w, r)
		}
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	token := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				w.WriteHeader(status)
				_, _ = fmt.Fprint(w, body)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://auth.example.net/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	says := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
		}
	}
	for _, tc := range []struct {
		ref    string
		answer http.HandlerFunc
		absent bool
	}{
		{"docker.io/library/prose:text", token(http.StatusOK, `{"token":"without the scope"}`), true},
		{"ghcr.io/some/prose:text", token(http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"denied"}]}`), true},
		{"quay.io/some/prose:text", says(http.StatusUnauthorized, "UNAUTHORIZED"), true},
		{"gcr.io/some/prose:text", says(http.StatusForbidden, "DENIED"), true},
		{"eu.gcr.io/some/prose:text", says(http.StatusForbidden, "DENIED"), true},
		{"europe-docker.pkg.dev/some/prose/text:1", says(http.StatusForbidden, "DENIED"), true},
		{"docker.io/library/prose:text", says(http.StatusServiceUnavailable, "UNAVAILABLE"), false},
		{"registry.corp.net/some/prose:text", says(http.StatusForbidden, "DENIED"), false},
		{"registry.corp.net/some/prose:text", token(http.StatusUnauthorized, ""), false},
		{"notquay.io/some/prose:text", says(http.StatusUnauthorized, "UNAUTHORIZED"), false},
	} {
		answer = tc.answer
		o := options(upstreamtest.New(t))
		o.System.DockerProxyURL = at
		r, err := suspect(t, tc.ref, o)
		if (err == nil) != tc.absent || tc.absent != (len(r.Absent) == 1) {
			t.Errorf("%s: absent %v, error %v", tc.ref, r.Absent, err)
			continue
		}
		domain, _, _ := strings.Cut(tc.ref, "/")
		if tc.absent && !strings.Contains(r.Absent[0].String(), "sealbuild login "+domain) {
			t.Errorf("%s: what is told lacks the login: %s", tc.ref, r.Absent[0])
		}
	}
}

func TestNamesThatDoNotResolveAreAbsentOnlyIfNobodyMayHaveThem(t *testing.T) {
	unknown := func(name string) error { return &net.DNSError{Name: name, IsNotFound: true} }
	for name, absent := range map[string]bool{
		"registry.example.com": true, "example.org": true, "my.registry.test": true, "app.example": true, "x.invalid": true, "localhost": true,
		"registry.corp": false, "harbor.lan": false, "registry.internal": false, "foo.bar": false, "notexample.com": false,
	} {
		if passable(unknown(name)) != absent {
			t.Errorf("%s: absent is %t", name, !absent)
		}
		if passable(&mirrorsError{registry: unknown(name), mirrors: []error{&StatusError{Status: http.StatusBadGateway}}}) {
			t.Errorf("%s: absent, though a mirror is in trouble", name)
		}
	}
	if passable(&net.OpError{Op: "dial", Err: errors.New("connection refused")}) {
		t.Error("absent at a registry that is down")
	}
}
