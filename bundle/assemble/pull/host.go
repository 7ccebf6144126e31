package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containers/image/v5/pkg/tlsclientconfig"
	"github.com/containers/image/v5/types"
)

// host is one registry: its connections, and how long it wants to be left alone. Everything that is pulled from it shares them.
type host struct {
	name      string // as references write it
	addr      string // host:port that answers
	insecure  bool   // certificates are not checked, and plain HTTP will do
	sys       *types.SystemContext
	transport *http.Transport
	*gate

	mu       sync.Mutex
	scheme   string // empty until it answered
	failed   error  // to answer
	failedAt time.Time
}

// gate is shut while a registry wants to be left alone.
type gate struct {
	mu    sync.Mutex
	until time.Time // no request before
}

func newHost(sys *types.SystemContext, name string, insecure bool, connections int) (*host, error) {
	h := &host{name: name, addr: name, insecure: insecure, sys: sys, gate: new(gate)}
	if name == "docker.io" {
		h.addr = "registry-1.docker.io"
	}
	h.transport = tlsclientconfig.NewTransport()
	h.transport.MaxIdleConnsPerHost = connections
	h.transport.DisableCompression = true // blobs are what their digest says
	h.transport.ReadBufferSize = 64 << 10
	if sys.DockerProxyURL != nil {
		h.transport.Proxy = http.ProxyURL(sys.DockerProxyURL)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	if err := tlsclientconfig.SetupCertificates(certDir(sys, name), config); err != nil {
		return nil, fmt.Errorf("read the certificates for %s: %w", name, err)
	}
	h.transport.TLSClientConfig = config
	return h, nil
}

// certDir is where the certificates for a registry lie, by the rules of podman and docker.
func certDir(sys *types.SystemContext, name string) string {
	if sys.DockerCertPath != "" {
		return sys.DockerCertPath
	}
	if sys.DockerPerHostCertDirPath != "" {
		return filepath.Join(sys.DockerPerHostCertDirPath, name)
	}
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".config/containers/certs.d", name))
	}
	dirs = append(dirs, filepath.Join(sys.RootForImplicitAbsolutePaths, "/etc/containers/certs.d", name))
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return filepath.Join(sys.RootForImplicitAbsolutePaths, "/etc/docker/certs.d", name)
}

// reach finds out how the registry is spoken to, once.
func (h *host) reach(ctx context.Context) (scheme string, err error) {
	began := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scheme != "" {
		return h.scheme, nil
	}
	if h.failed != nil && h.failedAt.After(began) { // others waited for the same answer
		return "", h.failed
	}
	schemes := []string{"https"}
	if h.insecure {
		schemes = append(schemes, "http")
	}
	var failed error
	for _, scheme := range schemes {
		err := h.ping(ctx, scheme)
		if err == nil {
			h.scheme = scheme
			return scheme, nil
		}
		if ctx.Err() != nil {
			return "", err
		}
		// Of a registry that is not there at all, the first answer says it best.
		if failed == nil || errors.Is(failed, http.ErrSchemeMismatch) || errors.As(failed, new(tls.RecordHeaderError)) {
			failed = err
		}
	}
	h.failed, h.failedAt = failed, time.Now()
	return "", failed
}

// reachError is a registry that gives no answer.
type reachError struct {
	name string
	err  error
}

// Error leaves out the request: nobody has asked for /v2/.
func (e *reachError) Error() string {
	why := e.err
	if request, ok := errors.AsType[*url.Error](why); ok {
		why = request.Err
	}
	return fmt.Sprintf("reach registry %s: %v", e.name, why)
}

func (e *reachError) Unwrap() error { return e.err }

// ping asks for /v2/, which every registry answers.
func (h *host) ping(ctx context.Context, scheme string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+h.addr+"/v2/", nil)
	if err != nil {
		return err
	}
	if agent := h.sys.DockerRegistryUserAgent; agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	resp, err := (&http.Client{Transport: h.transport}).Do(req)
	if err != nil {
		return &reachError{h.name, err}
	}
	defer drain(resp.Body)
	if err := h.limited(resp); err != nil {
		return err
	}
	if resp.StatusCode >= 500 {
		return statusError(h, resp)
	}
	return nil // whatever else it answers, what is asked for later says it better
}

// pause keeps everybody away from the registry for d.
func (g *gate) pause(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(d); until.After(g.until) {
		g.until = until
	}
}

// closedFor is how long the registry still wants to be left alone.
func (g *gate) closedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.until)
}
