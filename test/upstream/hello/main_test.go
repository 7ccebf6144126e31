package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswersNameHostAndVersion(t *testing.T) {
	for _, tc := range []struct{ path, greeting, want string }{
		{"/", "", "hello from pod-1, version 1.0\n"},
		{"/any/path", "moin", "moin from pod-1, version 1.0\n"},
		{"/healthz", "", "ok\n"},
	} {
		rec := httptest.NewRecorder()
		handler("pod-1", "1.0", tc.greeting).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, tc.path, nil))
		if diff := cmp.Diff(tc.want, rec.Body.String()); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", tc.path, diff)
		}
	}
}

func TestStopsCleanlyWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, handler("h", "v", "")) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serve returned %v after a request to stop, want nil", err)
	}
}
