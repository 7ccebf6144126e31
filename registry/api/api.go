package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
)

// Options say what is allowed, and in what portions lists come.
type Options struct {
	Writable bool                     // clients may push
	Delete   bool                     // and delete tags, manifests and a repository's blobs
	Storage  []storage.RegistryOption // which manifests are taken, and other matters of the storage
	Classes  []string                 // what may be pushed: "image", "plugin"; empty for everything

	CatalogPage int // repositories that one answer lists at most
	TagsPage    int // tags that a client may ask for at once; 0 for as many as it likes

	Host         *url.URL // what addresses in answers begin with; nil for what the client asked
	RelativeURLs bool     // addresses in answers name no host
}

// routeReferrers is the one route that the distribution registry does not know.
const routeReferrers = "referrers"

type handler struct {
	Options
	driver    driver.StorageDriver
	registry  distribution.Namespace
	uploads   inUse
	referrers *subjects
}

// New returns the handler of /v2/ over a driver.
func New(ctx context.Context, d driver.StorageDriver, o Options) (http.Handler, error) {
	// Uploads are hashed as they lie on the disk when they are complete. The states of a hash that the storage could keep beside
	// them would say what was sent, which after a power cut is not what is there.
	options := append(slices.Clone(o.Storage), storage.DisableDigestResumption)
	if o.Delete {
		options = append(options, storage.EnableDelete)
	}
	registry, err := storage.NewRegistry(ctx, d, options...)
	if err != nil {
		return nil, fmt.Errorf("serve registry: %w", err)
	}
	s := &subjects{driver: d, known: map[string]map[digest.Digest]digest.Digest{}}
	h := &handler{Options: o, driver: d, registry: registry, referrers: s}
	return h.router(), nil
}

// call is one request.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	repo distribution.Repository // nil for requests about no repository
}

func (c *call) variable(name string) string { return mux.Vars(c.r)[name] }

// methods are what can be done with one kind of thing. A method that fails has sent nothing yet, and returns what is to be
// answered.
type methods map[string]func(*call) error

func (h *handler) router() http.Handler {
	base := reading(h.ping)
	manifest := reading(h.getManifest)
	blob := methods{} // reading is done in front of this handler
	upload, started := reading(h.uploadStatus), methods{}
	if h.Writable {
		manifest[http.MethodPut] = h.putManifest
		manifest[http.MethodDelete] = h.deleteManifest
		blob[http.MethodDelete] = h.deleteBlob
		started[http.MethodPost] = h.startUpload
		upload[http.MethodPatch] = h.continueUpload
		upload[http.MethodPut] = h.endUpload
		upload[http.MethodDelete] = h.cancelUpload
	}
	router := v2.RouterWithPrefix("")
	for name, m := range map[string]methods{
		v2.RouteNameBase: base, v2.RouteNameCatalog: reading(h.catalog), v2.RouteNameTags: reading(h.tags), v2.RouteNameManifest: manifest,
		v2.RouteNameBlob: blob, v2.RouteNameBlobUpload: started, v2.RouteNameBlobUploadChunk: upload,
	} {
		router.GetRoute(name).Handler(h.dispatch(m))
	}
	router.Path("/v2/{name:" + reference.NameRegexp.String() + "}/referrers/{digest:" + digest.DigestRegexp.String() + "}").
		Name(routeReferrers).Handler(h.dispatch(reading(h.listReferrers)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		router.ServeHTTP(w, r)
	})
}

// reading answers GET, and HEAD with the same headers: the server leaves out the body.
func reading(do func(*call) error) methods {
	return methods{http.MethodGet: do, http.MethodHead: do}
}

func (h *handler) dispatch(m methods) http.Handler {
	allowed := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r}
		do, ok := m[r.Method]
		if !ok {
			w.Header().Set("Allow", allowed)
			c.fail(errcode.ErrorCodeUnsupported.WithMessage("this cannot be done here"))
			return
		}
		err := h.open(c)
		if err == nil {
			err = do(c)
		}
		if err != nil {
			c.fail(err)
		}
	})
}

// open finds the repository that a request names. It need not be there.
func (h *handler) open(c *call) error {
	name := c.variable("name")
	if name == "" {
		return nil
	}
	named, err := reference.WithName(name)
	if err != nil {
		return errcode.ErrorCodeNameInvalid.WithMessage("no repository can have this name").WithDetail(map[string]string{"name": name})
	}
	if c.repo, err = h.registry.Repository(c.r.Context(), named); err != nil {
		return fmt.Errorf("open repository %s: %w", name, err)
	}
	return nil
}

// ping tells clients that this is a registry, and that they may use it.
func (h *handler) ping(c *call) error {
	return c.json(map[string]string{}, "application/json")
}

// urls makes the addresses that answers name.
func (h *handler) urls(c *call) *v2.URLBuilder {
	if h.Host != nil {
		return v2.NewURLBuilder(h.Host, false)
	}
	return v2.NewURLBuilderFromRequest(c.r, h.RelativeURLs)
}
