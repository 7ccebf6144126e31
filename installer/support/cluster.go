package support

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// resource is a kind of objects, and where troubleshoot.sh keeps it: in a file for each namespace in a directory of that name, or
// in one file.
type resource struct {
	name, api  string
	namespaced bool
}

// resources are read of every cluster. Secrets are not among them.
var resources = []resource{
	{"nodes", "/api/v1/nodes", false},
	{"pods", "/api/v1/pods", true},
	{"events", "/api/v1/events", true},
	{"deployments", "/apis/apps/v1/deployments", true},
	{"daemonsets", "/apis/apps/v1/daemonsets", true},
	{"statefulsets", "/apis/apps/v1/statefulsets", true},
	{"replicasets", "/apis/apps/v1/replicasets", true},
	{"services", "/api/v1/services", true},
	{"endpoints", "/api/v1/endpoints", true},
	{"endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", true},
	{"configmaps", "/api/v1/configmaps", true},
	{"serviceaccounts", "/api/v1/serviceaccounts", true},
	{"pvcs", "/api/v1/persistentvolumeclaims", true},
	{"pvs", "/api/v1/persistentvolumes", false},
	{"storage-classes", "/apis/storage.k8s.io/v1/storageclasses", false},
	{"volumeattachments", "/apis/storage.k8s.io/v1/volumeattachments", false},
	{"jobs", "/apis/batch/v1/jobs", true},
	{"cronjobs", "/apis/batch/v1/cronjobs", true},
	{"ingress", "/apis/networking.k8s.io/v1/ingresses", true},
	{"ingress-classes", "/apis/networking.k8s.io/v1/ingressclasses", false},
	{"network-policy", "/apis/networking.k8s.io/v1/networkpolicies", true},
	{"pod-disruption-budgets", "/apis/policy/v1/poddisruptionbudgets", true},
	{"resource-quota", "/api/v1/resourcequotas", true},
	{"limitranges", "/api/v1/limitranges", true},
	{"leases", "/apis/coordination.k8s.io/v1/leases", true},
	{"roles", "/apis/rbac.authorization.k8s.io/v1/roles", true},
	{"rolebindings", "/apis/rbac.authorization.k8s.io/v1/rolebindings", true},
	{"clusterroles", "/apis/rbac.authorization.k8s.io/v1/clusterroles", false},
	{"clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", false},
	{"priorityclasses", "/apis/scheduling.k8s.io/v1/priorityclasses", false},
	{"certificatesigningrequests", "/apis/certificates.k8s.io/v1/certificatesigningrequests", false},
	{"validating-webhook-configurations", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", false},
	{"mutating-webhook-configurations", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", false},
}

const (
	dir       = "cluster-resources/"
	pageSize  = 250              // objects in one answer: what is held of a cluster in memory
	firstWord = 10 * time.Second // of an API server
)

// cluster collects the objects of the cluster, through the first master whose API server answers.
func (b *bundle) cluster(ctx context.Context, p *part) {
	c, err := b.api(ctx, p)
	if err != nil {
		p.lacks("cluster-resources", err)
		return
	}
	c.namespaces(ctx)
	lost := 0
	for _, r := range resources {
		if lost = c.collect(ctx, r, lost); lost < 0 {
			return
		}
	}
	c.discovery(ctx)
	c.customResources(ctx)
}

// collect keeps the objects of one kind. lost counts kinds that could not be had one after the other; it gives -1 when nothing more
// is to be had.
func (c *api) collect(ctx context.Context, r resource, lost int) int {
	err := c.objects(ctx, r)
	if err == nil {
		return 0
	}
	c.p.lacks("cluster-resources-"+r.name, err)
	if noted := c.p.json(dir+r.name+"-errors.json", []string{tell(err, "")}); noted != nil || ctx.Err() != nil || lost == 2 {
		c.p.lacks("cluster-resources", errors.New("the API answers no more: what follows "+r.name+" is not here"))
		return -1
	}
	return lost + 1
}

// api is an API server that is asked, on its own host.
type api struct {
	p     *part
	t     *fleet.Target
	names []string // of namespaces
	crds  []definition
}

// api finds an API server that answers. All are asked at once: one that hangs costs no time.
func (b *bundle) api(ctx context.Context, p *part) (*api, error) {
	asked := fleet.Only(b.Masters(), func(t *fleet.Target) bool { return b.unasked[t] == nil })
	if len(asked) == 0 {
		return nil, errors.New("no master could be asked")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, firstWord, fmt.Errorf("no answer for %s", firstWord))
	defer cancel()
	var mu sync.Mutex
	var found *api
	var version json.RawMessage
	err := fleet.Each(ctx, asked, len(asked), func(ctx context.Context, t *fleet.Target) error {
		c := &api{p: p, t: t}
		var said json.RawMessage
		if err := c.get(ctx, &said, "/version"); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if found == nil {
			found, version = c, said
			cancel()
		}
		return nil
	})
	if found == nil {
		return nil, err
	}
	var info struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(version, &info); err != nil {
		return nil, fmt.Errorf("read what /version says: %w", err)
	}
	return found, p.json("cluster-info/cluster_version.json", map[string]any{"info": version, "string": info.GitVersion})
}

// kubectl reads paths of the API, one after the other; what one of them answers follows the other's.
const kubectl = `conf=$1 server=$2; shift 2
for path; do kubectl --kubeconfig "$conf" --server "$server" --request-timeout=20s get --raw "$path" || exit; done`

// read gives what the API answers to paths to take.
func (c *api) read(ctx context.Context, take func(*json.Decoder) error, paths ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from, to := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		server := "https://" + netip.AddrPortFrom(c.t.IP, installer.APIServerPort).String()
		code, stderr, err := run(ctx, c.t.Link, "kubectl get --raw "+paths[0], kubectl, to, append([]string{installer.AdminConf, server}, paths...)...)
		if err == nil && code != 0 {
			err = fmt.Errorf("kubectl: exit status %d: %s", code, installer.Tail(stderr, 3))
		}
		to.CloseWithError(err)
		ended <- err
	}()
	decoder := json.NewDecoder(from)
	decoder.UseNumber()
	err := take(decoder)
	if err == nil {
		_, err = io.Copy(io.Discard, from) // the end of a line
	}
	cancel(err)
	_ = from.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // what is still sent is not wanted
	if told := <-ended; err != nil && told != nil && !errors.Is(told, context.Canceled) && !errors.Is(told, io.ErrClosedPipe) {
		return c.t.Failed(told)
	}
	return c.t.Failed(err)
}

func (c *api) get(ctx context.Context, v any, path string) error {
	return c.read(ctx, func(d *json.Decoder) error { return d.Decode(v) }, path)
}

// list is a page of objects.
type list struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items []map[string]any `json:"items"`
}

// pages gives all pages of objects to take.
func (c *api) pages(ctx context.Context, path string, take func(list) error) error {
	for next := ""; ; {
		var page list
		query := fmt.Sprintf("%s?limit=%d", path, pageSize)
		if next != "" {
			query += "&continue=" + next
		}
		if err := c.get(ctx, &page, query); err != nil {
			return err
		}
		for _, item := range page.Items { // in a list they do not say it themselves
			item["kind"], item["apiVersion"] = strings.TrimSuffix(page.Kind, "List"), page.APIVersion
		}
		if err := take(page); err != nil {
			return err
		}
		if next = page.Metadata.Continue; next == "" {
			return nil
		}
	}
}

func (c *api) namespaces(ctx context.Context) {
	r := resource{"namespaces", "/api/v1/namespaces", false}
	if err := c.each(ctx, r, func(item map[string]any) { c.names = append(c.names, text(item, "metadata", "name")) }); err != nil {
		c.p.lacks("cluster-resources-namespaces", err)
	}
}

// objects keeps all objects of a kind.
func (c *api) objects(ctx context.Context, r resource) error {
	return c.each(ctx, r, func(map[string]any) {})
}

// each keeps all objects of a kind, and shows them. The API gives them in the order of their namespaces.
func (c *api) each(ctx context.Context, r resource, see func(map[string]any)) error {
	files := &objectFiles{p: c.p, r: r, seen: map[string]int{}}
	err := c.pages(ctx, r.api, func(page list) error {
		files.kind, files.version = page.Kind, page.APIVersion
		for _, item := range page.Items {
			see(item)
			if err := files.add(item); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, files.end()); err != nil {
		return err
	}
	return files.fill(c.names)
}

// discovery keeps which kinds the API has.
func (c *api) discovery(ctx context.Context) {
	var all struct {
		Groups []map[string]any `json:"groups"`
	}
	err := c.get(ctx, &all, "/apis")
	core := map[string]any{"groupVersion": "v1", "version": "v1"}
	groups := []any{map[string]any{"name": "", "versions": []any{core}, "preferredVersion": core}}
	paths := []string{"/api/v1"}
	for _, g := range all.Groups {
		groups = append(groups, g)
		versions, _ := g["versions"].([]any)
		for _, v := range versions {
			paths = append(paths, "/apis/"+text(v, "groupVersion"))
		}
	}
	lists := []any{}
	if err == nil {
		err = c.read(ctx, func(d *json.Decoder) error {
			for range paths {
				var l map[string]any
				if err := d.Decode(&l); err != nil {
					return err
				}
				delete(l, "kind") // as troubleshoot.sh has them: readers tell the core by it
				delete(l, "apiVersion")
				lists = append(lists, l)
			}
			return nil
		}, paths...)
	}
	if err = errors.Join(err, c.p.json(dir+"groups.json", groups), c.p.json(dir+"resources.json", lists)); err != nil {
		c.p.lacks("cluster-resources-groups", err)
	}
}

// definition is what is known of a kind that the cluster has been taught.
type definition struct {
	name, api  string
	namespaced bool
}

// defined reads a CustomResourceDefinition.
func defined(item map[string]any) (d definition, ok bool) {
	spec, _ := item["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	i := slices.IndexFunc(versions, func(v any) bool {
		m, _ := v.(map[string]any)
		return m["storage"] == true && m["served"] == true
	})
	if i < 0 {
		return d, false
	}
	path := fmt.Sprintf("/apis/%s/%s/%s", text(spec, "group"), text(versions[i], "name"), text(spec, "names", "plural"))
	return definition{text(item, "metadata", "name"), path, text(spec, "scope") == "Namespaced"}, true
}

// mostOfAKind bounds the objects of a kind that the cluster has been taught: they are held in memory, by their namespaces.
const mostOfAKind = 5000

// customResources keeps the objects of kinds that the cluster has been taught.
func (c *api) customResources(ctx context.Context) {
	r := resource{"custom-resource-definitions", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", false}
	err := c.each(ctx, r, func(item map[string]any) {
		if d, ok := defined(item); ok {
			c.crds = append(c.crds, d)
		}
	})
	if err != nil {
		c.p.lacks("cluster-resources-"+r.name, err)
		return
	}
	failed := map[string]string{}
	for _, d := range c.crds {
		if ctx.Err() != nil {
			break
		}
		by, n := map[string][]any{}, 0
		err := c.pages(ctx, d.api, func(page list) error {
			if n += len(page.Items); n > mostOfAKind {
				return fmt.Errorf("there are more than %d: the rest is left out", mostOfAKind)
			}
			for _, item := range page.Items {
				namespace := text(item, "metadata", "namespace")
				by[namespace] = append(by[namespace], item)
			}
			return nil
		})
		if err != nil {
			failed[d.name] = c.p.red.Text(tell(err, ""))
		}
		for namespace, items := range by {
			name := dir + "custom-resources/" + d.name
			if d.namespaced {
				name += "/" + namespace
			}
			if err := c.p.json(name+".json", items); err != nil {
				failed[d.name] = tell(err, "")
			}
		}
	}
	if len(failed) > 0 {
		c.p.lacks("custom-resources", fmt.Errorf("%s: see custom-resources-errors.json", count.Of(len(failed), "kind")))
		_ = c.p.json(dir+"custom-resources/custom-resources-errors.json", failed) // full: that is told already
	}
}
