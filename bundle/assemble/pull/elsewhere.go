package pull

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxURLs bounds how many addresses of one blob are tried.
const maxURLs = 16

// BlobError is a config or a layer that could not be had.
type BlobError struct {
	Digest    digest.Digest
	MediaType string
	Err       error   // of the registry
	URLs      []error // of the addresses that the manifest names for it
}

func (e *BlobError) Error() string {
	text := fmt.Sprintf("blob %s: %v", e.Digest, e.Err)
	if len(e.URLs) > 0 {
		text = fmt.Sprintf("layer %s (%s) is neither in the registry (%v) nor where its manifest says (%v)", e.Digest, e.MediaType, e.Err, errors.Join(e.URLs...))
	}
	return text
}

// Unwrap gives what the registry said.
func (e *BlobError) Unwrap() error { return e.Err }

// elsewhere fetches a blob from where manifests say that it lies, beside the registry: layers that may not be distributed are
// mostly kept by who made them. No login is sent there, and the digest tells whether it is the blob.
func (g *gatherer) elsewhere(ctx context.Context, d v1.Descriptor, urls []string) (failed []error) {
	for _, text := range urls[:min(len(urls), maxURLs)] {
		at, err := g.remotes.address(text)
		if err == nil {
			err = g.receive(ctx, d, at.name, func(from func(holder) error) error { return from(at) })
		}
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", shown(text), err))
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// address is a place on the web.
func (r *remotes) address(text string) (holder, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return holder{}, errors.New("it is no address")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.User != nil:
		return holder{}, errors.New("it is no plain address of http or https")
	}
	h, err := r.host(hostKey{u.Host, r.sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue})
	if err != nil {
		return holder{}, err
	}
	get := func(ctx context.Context, header http.Header) (*http.Response, error) {
		return h.watched(ctx, r.idle, func(ctx context.Context) (*http.Response, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
			if err != nil {
				return nil, err
			}
			req.Header = header.Clone()
			if agent := r.sys.DockerRegistryUserAgent; agent != "" {
				req.Header.Set("User-Agent", agent)
			}
			resp, err := (&http.Client{Transport: h.transport}).Do(req)
			if err != nil {
				return nil, withoutQuery(err)
			}
			return h.accepted(resp)
		})
	}
	return holder{u.Host, get}, nil
}

// shown is an address without what may let others in.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "an address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// addURLs adds addresses, each once.
func addURLs(all, more []string) []string {
	for _, u := range more {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}
