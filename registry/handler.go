package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sealbuild/sealbuild/registry/api"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// catalogPage is how many repositories /v2/_catalog lists at most in one answer.
const catalogPage = 10000

// HandlerOptions say what is served: a store on the disk, or a catalog whose blobs stay where they are.
type HandlerOptions struct {
	Root     string           // of a store
	Catalog  *catalog.Catalog // or: served in place from Source, always read-only
	Source   catalog.Source
	Htpasswd string   // file of accounts (bcrypt); empty for no authentication
	Realm    string   // named in the challenge; default "sealbuild"
	Writable bool     // with Root: clients may push
	Names    []string // host names of this registry itself; as ?ns= they mean nothing. "sealos.hub" always is one
}

// NewHandler returns a registry: the handlers of package api behind a resolver of names.
//
// A repository answers by its full name (registry.k8s.io/pause), by the name and registry that containerd sends
// (pause?ns=registry.k8s.io), and by its path alone if only one registry has it; if several have, the error names them. Without
// Writable everything but GET and HEAD is answered with 405. The handler lives until ctx ends.
//
// Blobs served in place are verified against their digest the first time they are read. Of a damaged one either nothing is sent but
// an error, or the answer breaks off: before the damage if the source verifies by parts, else before the last bytes. Those of a
// store are verified the first time they are read after a change, and again after an hour; a damaged one is not there for clients.
func NewHandler(ctx context.Context, o HandlerOptions) (http.Handler, error) {
	if (o.Root == "") == (o.Catalog == nil) || (o.Catalog == nil) != (o.Source == nil) {
		return nil, errors.New("serve registry: either a root or a catalog with its source is needed")
	}
	// What is pushed is not held against what the registry has: bundles hold some platforms of an index only.
	s := settings{Options: api.Options{Writable: o.Writable, CatalogPage: catalogPage}}
	if o.Catalog == nil {
		return newStoreHandler(ctx, o, s)
	}
	s.Writable = false
	d, err := newPlaceDriver(*o.Catalog, o.Source)
	if err != nil {
		return nil, fmt.Errorf("serve registry: %w", err)
	}
	h, err := api.New(ctx, d, s.Options)
	if err != nil {
		return nil, err
	}
	return assemble(h, o, s, newPlaceIndex(d), d)
}

func newStoreHandler(ctx context.Context, o HandlerOptions, s settings) (http.Handler, error) {
	store := disk.Open(o.Root)
	d := storeDriver{store}
	h, err := api.New(ctx, d, s.Options)
	if err != nil {
		return nil, err
	}
	if s.Writable {
		s.purge.start(ctx, d)
	}
	c := newChecker(store)
	return assemble(c.manifests(h), o, s, storeIndex{store}, c)
}

// assemble puts the layers of the handler together; the outermost comes last.
func assemble(h http.Handler, o HandlerOptions, s settings, index repositoryIndex, blobs blobSource) (http.Handler, error) {
	quietLogs()
	h = serveBlobs(blobs, h)
	h = resolver{index: index, own: ownNames(o.Names)}.handler(h, s.Writable)
	if !s.Writable {
		h = readOnly(h)
	}
	if o.Htpasswd != "" {
		var err error
		if h, err = newAuthenticator(o.Htpasswd, o.Realm, h); err != nil {
			return nil, err
		}
	}
	return alive(withHeaders(s.headers, h)), nil
}

// withHeaders adds what a configuration wants every answer to have.
func withHeaders(headers http.Header, next http.Handler) http.Handler {
	if len(headers) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range headers {
			for _, v := range values {
				w.Header().Add(name, v)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func ownNames(names []string) []string {
	own := []string{"sealos.hub"}
	for _, n := range names {
		own = append(own, strings.ToLower(n))
	}
	return own
}

func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			api.Refuse(w, errcode.ErrorCodeUnsupported, "this registry is read-only", nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// alive answers / for health checks, without authentication, as the distribution registry does.
func alive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			w.Header().Set("Cache-Control", "no-cache")
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}
