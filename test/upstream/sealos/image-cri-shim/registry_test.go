package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the program of sealos does with names that it cannot look up, which the product has to live with.
func TestNamesAreRememberedAsAbsentWhenTheRegistryIsDown(t *testing.T) {
	up := true
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up || r.URL.Path != "/v2/pause/manifests/1" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	ask := func(r *registry, image string, want bool) {
		t.Helper()
		name, ok := r.nameOf(t.Context(), image)
		if ok != want || name != host+"/pause:1" {
			t.Errorf("%s is %s, %t", image, name, ok)
		}
	}
	r := newRegistry(s.URL, "a:b")
	ask(r, "registry.k8s.io/pause:1", true)
	r = newRegistry(s.URL, "a:b")
	up = false
	ask(r, "registry.k8s.io/pause:1", false)
	up = true
	ask(r, "registry.k8s.io/pause:1", false) // still
	// A name that the runtime holds already passes as it is, found or not.
	ask(r, host+"/pause:1", false)
}
