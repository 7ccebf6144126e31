package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// counter stands before the upstream registry on loopback and counts what is
// fetched through it.
type counter struct {
	addr             string
	server           *http.Server
	blobs, manifests atomic.Int64 // answers with content
	bytes            atomic.Int64 // of blobs
}

// countInFrontOf listens at a free port of 127.0.0.1 until Close.
func countInFrontOf(ctx context.Context, upstream string) (*counter, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &counter{addr: l.Addr().String()}
	target := &url.URL{Scheme: "http", Host: upstream}
	c.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: &httputil.ReverseProxy{
			// The Host header stays: the registry makes its own addresses from it.
			Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
			Transport:      &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
			ModifyResponse: c.count,
		},
	}
	go func() { _ = c.server.Serve(l) }() // it returns when Close closes it
	return c, nil
}

func (c *counter) count(r *http.Response) error {
	if r.Request.Method != http.MethodGet || r.StatusCode/100 != 2 {
		return nil
	}
	switch path := r.Request.URL.Path; {
	case strings.Contains(path, "/blobs/"):
		c.blobs.Add(1)
		r.Body = &countedBody{r.Body, &c.bytes}
	case strings.Contains(path, "/manifests/"):
		c.manifests.Add(1)
	}
	return nil
}

func (c *counter) reset() {
	c.blobs.Store(0)
	c.manifests.Store(0)
	c.bytes.Store(0)
}

func (c *counter) Close() error {
	err := c.server.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
