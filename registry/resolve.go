package registry

import (
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sealbuild/sealbuild/registry/api"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// repositoryIndex says which repositories there are.
type repositoryIndex interface {
	exists(name string) bool
	domains() []string // first components of names that are registries' domains
}

// placeIndex answers for a catalog, which does not change.
type placeIndex struct {
	repos map[string]*catalog.Links
	list  []string
}

func newPlaceIndex(d *placeDriver) placeIndex {
	p := placeIndex{repos: d.repos}
	for _, name := range d.names {
		if domain, _, ok := strings.Cut(name, "/"); ok && catalog.IsDomain(domain) {
			p.list = append(p.list, domain)
		}
	}
	slices.Sort(p.list)
	p.list = slices.Compact(p.list)
	return p
}

func (p placeIndex) exists(name string) bool { return p.repos[name] != nil }
func (p placeIndex) domains() []string       { return p.list }

// storeIndex answers for a store by looking at its disk each time, so that what comes while it is served is found.
type storeIndex struct{ store *disk.Store }

func (s storeIndex) exists(name string) bool {
	if catalog.CheckRepository(name) != nil {
		return false
	}
	fi, err := os.Stat(s.store.Path(disk.LayoutRepositories + "/" + name + "/_manifests"))
	return err == nil && fi.IsDir()
}

func (s storeIndex) domains() []string {
	entries, err := os.ReadDir(s.store.Path(disk.LayoutRepositories))
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if catalog.IsDomain(e.Name()) {
			list = append(list, e.Name())
		}
	}
	return list
}

// resolver finds the repository a client means.
type resolver struct {
	index repositoryIndex
	own   []string // names of this registry itself, without port: as a namespace they say nothing
}

// resolve returns the full name of the repository meant by name and the client's ns parameter; "" when there is none.
// More than one candidate means that the name is ambiguous.
//
// With a namespace only that registry's repository will do, or one that was stored without a domain: an image of another registry
// that happens to have the same path is another image.
func (v resolver) resolve(name, ns string) (full string, candidates []string) {
	if ns != "" && !v.isOwn(ns) {
		domain := catalog.DomainDirectory(ns)
		for _, n := range qualified(domain, name) {
			if v.index.exists(n) {
				return n, nil
			}
		}
		if v.index.exists(name) {
			return name, nil
		}
		return "", nil
	}
	if v.index.exists(name) {
		return name, nil
	}
	for _, domain := range v.index.domains() {
		for _, n := range qualified(domain, name) {
			if v.index.exists(n) {
				candidates = append(candidates, n)
			}
		}
	}
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	return "", candidates
}

// qualified names a path in a registry. Docker's official images may go without their "library/".
func qualified(domain, path string) []string {
	names := []string{domain + "/" + path}
	if domain == "docker.io" && !strings.Contains(path, "/") {
		names = append(names, domain+"/library/"+path)
	}
	return names
}

func (v resolver) isOwn(ns string) bool {
	host := ns
	if at := strings.LastIndexByte(ns, ':'); at >= 0 && !strings.HasSuffix(ns, "]") {
		host = ns[:at]
	}
	return slices.Contains(v.own, strings.ToLower(host))
}

// route takes the path of an API request apart: name is the repository, rest what follows it, from its slash on.
func route(path string) (name, rest string, ok bool) {
	p, found := strings.CutPrefix(path, "/v2/")
	if !found {
		return "", "", false
	}
	parts := strings.Split(p, "/")
	n := len(parts)
	switch {
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list",
		n >= 3 && (parts[n-2] == "manifests" || parts[n-2] == "blobs" || parts[n-2] == "referrers"):
		n -= 2
	default:
		return "", "", false
	}
	name = strings.Join(parts[:n], "/")
	return name, p[len(name):], name != ""
}

// handler resolves the names of reading requests before next sees them. A writing request means exactly the repository it names.
func (v resolver) handler(next http.Handler, writable bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, ok := route(r.URL.Path)
		ns := r.URL.Query().Get("ns")
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		// A client that is about to push asks with HEAD which blobs are there, and must not be answered for another repository.
		pushing := writable && ns == "" && r.Method == http.MethodHead && strings.HasPrefix(rest, "/blobs/")
		if !ok || !read || pushing {
			next.ServeHTTP(w, r)
			return
		}
		if catalog.CheckRepository(name) != nil {
			api.Refuse(w, errcode.ErrorCodeNameInvalid, "no repository can have this name", map[string]any{"name": name})
			return
		}
		full, candidates := v.resolve(name, ns)
		if len(candidates) > 0 {
			api.Refuse(w, errcode.ErrorCodeNameUnknown,
				"repository "+name+" is ambiguous: it is in "+strings.Join(candidates, ", ")+"; give the full name",
				map[string]any{"name": name, "candidates": candidates})
			return
		}
		if full == "" && rest == "/tags/list" {
			// The registry would list no tags of it when it is asked for a later page.
			api.Refuse(w, errcode.ErrorCodeNameUnknown, "no such repository", map[string]any{"name": name})
			return
		}
		if full != "" && full != name {
			r = withPath(r, "/v2/"+full+rest)
		}
		next.ServeHTTP(w, r)
	})
}

func withPath(r *http.Request, path string) *http.Request {
	c := r.WithContext(r.Context())
	u := *r.URL
	c.URL = &url.URL{Scheme: u.Scheme, Host: u.Host, User: u.User, Path: path, RawQuery: u.RawQuery}
	return c
}
