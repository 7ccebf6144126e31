package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Remote is a registry on another host that has what a store should have: a [catalog.Source] for [disk.Store.Heal].
type Remote struct {
	URL            string // https://10.0.0.3:5000
	User, Password string // none if User is ""
	Client         *http.Client

	ctx   context.Context
	store *disk.Store
	repos func() (map[digest.Digest][]string, error) // which repositories of the store link to a blob
}

// NewRemote returns a source for what store links to: registries are asked for a blob by the name of a repository. Requests end
// with ctx. The client says how the registry is known; proxies are its matter.
func NewRemote(ctx context.Context, store *disk.Store, url string, client *http.Client) *Remote {
	r := &Remote{URL: strings.TrimSuffix(url, "/"), Client: client, ctx: ctx, store: store}
	r.repos = sync.OnceValues(func() (map[digest.Digest][]string, error) { return store.Linked(ctx) })
	return r
}

// Stat implements [catalog.Source]. The size is not known before the blob is opened.
func (r *Remote) Stat(d digest.Digest) (int64, bool) {
	repos, err := r.repos()
	return 0, err == nil && len(repos[d]) > 0
}

// OpenBlob implements [catalog.Source].
func (r *Remote) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	repos, err := r.repos()
	if err != nil {
		return nil, err
	}
	last := fmt.Errorf("no repository has blob %s: %w", d, fs.ErrNotExist)
	for _, name := range repos[d] {
		for _, kind := range []string{"blobs", "manifests"} {
			body, err := r.get(name + "/" + kind + "/" + d.String())
			if err == nil {
				return body, nil
			}
			last = err
		}
	}
	return nil, last
}

func (r *Remote) get(path string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(r.ctx, http.MethodGet, r.URL+"/v2/"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.URL, err)
	}
	q.Header.Set("Accept", strings.Join(ocigraph.MediaTypes(), ", "))
	if r.User != "" {
		q.SetBasicAuth(r.User, r.Password)
	}
	resp, err := r.Client.Do(q)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("registry %s: GET %s: %s", r.URL, path, resp.Status)
	}
	return resp.Body, nil
}

// BlobAt implements [catalog.Source], which it does not serve.
func (r *Remote) BlobAt(digest.Digest) (catalog.BlobReader, error) {
	return nil, fmt.Errorf("read a part of a blob of registry %s: %w", r.URL, errors.ErrUnsupported)
}
