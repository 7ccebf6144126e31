package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the registry finds it by name
)

// catalogPage is how many repositories /v2/_catalog lists at most in one answer.
const catalogPage = 10000

// HandlerOptions say what is served: a store on the disk, or a catalog whose blobs stay where they are.
type HandlerOptions struct {
	Root     string   // of a store
	Catalog  *Catalog // or: served in place from Source, always read-only
	Source   Source
	Htpasswd string   // file of accounts (bcrypt); empty for no authentication
	Realm    string   // named in the challenge; default "sealbuild"
	Writable bool     // with Root: clients may push
	Names    []string // host names of this registry itself; as ?ns= they mean nothing. "sealos.hub" always is one
}

// NewHandler returns a registry: the distribution registry's own handlers behind a resolver of names.
//
// A repository answers by its full name (registry.k8s.io/pause), by the name and registry that containerd sends (pause?ns=registry.k8s.io),
// and by its path alone if only one registry has it; if several have, the error names them. Without Writable everything but GET and
// HEAD is answered with 405. The handler lives until ctx ends.
//
// Blobs served in place are verified against their digest the first time they are read. Of a damaged one either nothing is sent but an
// error, or the answer breaks off: before the damage if the source verifies by parts, else before the last bytes. Those of a store are
// verified the first time they are read after a change, and again after an hour; a damaged one is not there for clients.
func NewHandler(ctx context.Context, o HandlerOptions) (http.Handler, error) {
	if (o.Root == "") == (o.Catalog == nil) || (o.Catalog == nil) != (o.Source == nil) {
		return nil, errors.New("serve registry: either a root or a catalog with its source is needed")
	}
	config := &configuration.Configuration{}
	config.Catalog.MaxEntries = catalogPage
	config.Validation.Disabled = true // bundles hold some platforms of an index only
	config.HTTP.Secret = "unused: nothing is uploaded"
	config.Storage = configuration.Storage{
		"maintenance": {
			"uploadpurging": map[any]any{"enabled": false},
			"readonly":      map[any]any{"enabled": !o.Writable || o.Catalog != nil},
		},
	}
	if o.Catalog != nil {
		d, err := newPlaceDriver(*o.Catalog, o.Source)
		if err != nil {
			return nil, fmt.Errorf("serve registry: %w", err)
		}
		registerDriver()
		config.Storage[inPlaceDriver] = configuration.Parameters{"driver": d}
		return assemble(ctx, config, o, newPlaceIndex(d), d, nil)
	}
	config.Storage["filesystem"] = configuration.Parameters{"rootdirectory": o.Root}
	if o.Writable {
		config.HTTP.Secret = NewPassword()
	}
	return assembleStore(ctx, config, o)
}

func assembleStore(ctx context.Context, config *configuration.Configuration, o HandlerOptions) (http.Handler, error) {
	store := OpenStore(o.Root)
	c := newChecker(store)
	return assemble(ctx, config, o, storeIndex{store}, c, c.manifests)
}

// assemble puts the layers of the handler together; the outermost comes last.
func assemble(ctx context.Context, config *configuration.Configuration, o HandlerOptions, index repositoryIndex, blobs blobSource,
	manifests func(next http.Handler) http.Handler,
) (http.Handler, error) {
	quietLogs()
	app, err := newApp(ctx, config)
	if err != nil {
		return nil, err
	}
	writable := o.Writable && o.Catalog == nil
	h := acceptAnything(app)
	if manifests != nil {
		h = manifests(h)
	}
	h = serveBlobs(blobs, h)
	h = resolver{index: index, own: ownNames(o.Names)}.handler(h, writable)
	if !writable {
		h = readOnly(h)
	}
	if o.Htpasswd != "" {
		if h, err = newAuthenticator(o.Htpasswd, o.Realm, h); err != nil {
			return nil, err
		}
	}
	return alive(h), nil
}

// acceptAnything lets clients that do not say which manifests they understand, or that take any, have them as they are.
func acceptAnything(next http.Handler) http.Handler {
	types := strings.Join(manifestTypes, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept := strings.Join(r.Header.Values("Accept"), ",")
		if accept == "" || strings.Contains(accept, "*/*") || strings.Contains(accept, "application/*") {
			r = r.Clone(r.Context())
			r.Header.Set("Accept", types)
		}
		next.ServeHTTP(w, r)
	})
}

// newApp turns the panics with which the registry reports a bad configuration into errors.
func newApp(ctx context.Context, config *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if p := recover(); p != nil {
			app, err = nil, fmt.Errorf("serve registry: %v", p)
		}
	}()
	return handlers.NewApp(ctx, config), nil
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
			writeError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only", nil)
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

// writeError answers in the form every registry client understands.
func writeError(w http.ResponseWriter, status int, code, message string, detail any) {
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	body, err := json.Marshal(map[string][]problem{"errors": {{code, message, detail}}})
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
