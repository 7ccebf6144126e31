package care

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// checkTimeout bounds one question through the virtual address, behind which a first server may be dead.
const checkTimeout = 3 * time.Second

// Check asks the virtual address until it answers or ctx ends.
func Check(ctx context.Context, vip netip.AddrPort) error {
	probe := httpProbe(DefaultHealthPath)
	err := wait.Until(ctx, 200*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		err := probe(ctx, vip)
		if said, ok := errors.AsType[answerError](err); ok && said.code == http.StatusForbidden {
			return nil // where anonymous clients may ask nothing, that is all it says
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("the virtual address %s does not answer: %w (can this host reach port 6443 of the masters?)", vip, err)
	}
	return nil
}

// answerError is what a server says that is not ready.
type answerError struct {
	path, status string
	code         int
}

func (e answerError) Error() string { return e.path + " answered " + e.status }

// httpProbe asks a server's health path. The server's certificate is not checked: a node may have no CA yet, nothing secret is
// sent, and an impostor who answers here still fails the TLS handshake of every real client. A server that answers that it is not
// ready gives an answerError.
func httpProbe(path string) func(context.Context, netip.AddrPort) error {
	client := &http.Client{Transport: &http.Transport{
		Proxy:             nil,                                   // the environment's proxies are never for cluster hosts
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives: true,                                  // a kept connection would hide a server that accepts no new ones
	}}
	return func(ctx context.Context, addr netip.AddrPort) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr.String()+path, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		// Drained so that the server sees a finished request; its text is not used.
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
		// A live server with anonymous access turned off answers 401. One that has just begun answers 403 until it knows its rules,
		// to every client; where that is what anonymous clients get for ever, all servers say it, and all are taken.
		if resp.StatusCode >= 400 && resp.StatusCode != http.StatusUnauthorized {
			return answerError{path, resp.Status, resp.StatusCode}
		}
		return nil
	}
}
