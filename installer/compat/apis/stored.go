package apis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Found is what a cluster has that uses versions which are not served any more.
type Found struct {
	Applied  []Uses    `json:"applied,omitempty"`  // what kubectl apply was given last: the same file will be given again
	Written  []Uses    `json:"written,omitempty"`  // who has written fields by such a version
	Releases []Uses    `json:"releases,omitempty"` // of Helm that are deployed: Helm reads their objects before it changes them
	Requests []Request `json:"requests,omitempty"` // to this API server since it started
	Unread   []string  `json:"unread,omitempty"`   // what could not be read, and why
}

// Uses are objects that use one version of a kind alike.
type Uses struct {
	Kind
	By    string   `json:"by,omitempty"` // who has written them
	Names []string `json:"names"`        // NAMESPACE/NAME, or NAME; the first of them
	All   int      `json:"all"`
}

// maxNames bounds how many objects of one kind are named.
const maxNames = 20

// add notes an object.
func add(all []Uses, k Kind, by, name string) []Uses {
	i := slices.IndexFunc(all, func(u Uses) bool { return u.Kind == k && u.By == by })
	if i < 0 {
		i, all = len(all), append(all, Uses{Kind: k, By: by})
	}
	if len(all[i].Names) < maxNames && !slices.Contains(all[i].Names, name) {
		all[i].Names = append(all[i].Names, name)
	}
	all[i].All++
	return all
}

const (
	plainJSON = "application/json"
	// metaOnly asks for objects without their content: what is secret in them does not leave the API server.
	metaOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	// objectsAtOnce and releasesAtOnce bound an answer: releases come with their content.
	objectsAtOnce  = "250"
	releasesAtOnce = "5"
	lastApplied    = "kubectl.kubernetes.io/last-applied-configuration"
)

// Stored looks for objects that a client would write again by a version which is gone. It lists the kinds of the table only,
// whatever versions they have now.
func (c *Client) Stored(ctx context.Context, gone Table) (Found, error) {
	resources, unread, err := c.resources(ctx, gone.kinds())
	found := Found{Unread: unread}
	if err != nil {
		return found, err
	}
	for _, r := range resources {
		err := c.list(ctx, r.path, url.Values{"limit": {objectsAtOnce}}, metaOnly, func(dec *json.Decoder) error {
			var o object
			if err := dec.Decode(&o); err != nil {
				return err
			}
			found.note(gone, r.kind, o)
			return nil
		})
		if ctx.Err() != nil {
			return found, context.Cause(ctx)
		}
		if err != nil {
			found.Unread = append(found.Unread, err.Error())
		}
	}
	return found, c.releases(ctx, gone, &found)
}

// object is what is read of one.
type object struct {
	Metadata struct {
		Namespace     string            `json:"namespace"`
		Name          string            `json:"name"`
		Annotations   map[string]string `json:"annotations"`
		ManagedFields []struct {
			Manager    string `json:"manager"`
			APIVersion string `json:"apiVersion"`
		} `json:"managedFields"`
	} `json:"metadata"`
}

// note looks at one object of a kind.
func (f *Found) note(gone Table, kind string, o object) {
	name := path.Join(o.Metadata.Namespace, o.Metadata.Name)
	if text, ok := o.Metadata.Annotations[lastApplied]; ok {
		var applied struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if json.Unmarshal([]byte(text), &applied) == nil { // what is no JSON nobody applies
			if k := (Kind{applied.APIVersion, applied.Kind}); gone[k] > 0 {
				f.Applied = add(f.Applied, k, "", name)
			}
		}
	}
	seen := map[Kind]bool{}
	for _, m := range o.Metadata.ManagedFields {
		if k := (Kind{m.APIVersion, kind}); gone[k] > 0 && !seen[k] {
			seen[k] = true
			f.Written = add(f.Written, k, m.Manager, name)
		}
	}
}

// releases looks at the releases of Helm that are deployed: at the objects they consist of, and at nothing else.
func (c *Client) releases(ctx context.Context, gone Table, found *Found) error {
	query := url.Values{"limit": {releasesAtOnce}, "labelSelector": {"owner=helm,status=deployed"}, "fieldSelector": {"type=helm.sh/release.v1"}}
	err := c.list(ctx, "/api/v1/secrets", query, plainJSON, func(dec *json.Decoder) error {
		var secret struct {
			Metadata struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"metadata"`
			Data map[string][]byte `json:"data"`
		}
		if err := dec.Decode(&secret); err != nil {
			return fmt.Errorf("a Secret: %T", err)
		}
		r, err := decodeRelease(secret.Data["release"])
		if err != nil {
			found.Unread = append(found.Unread, fmt.Sprintf("release of Helm in Secret %s/%s: %v", secret.Metadata.Namespace, secret.Metadata.Name, err))
			return nil
		}
		for _, u := range Scan(r.Manifest) {
			if k, ok := gone.Gone(u); ok {
				found.Releases = add(found.Releases, k, "", path.Join(secret.Metadata.Namespace, r.Name))
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		found.Unread, err = append(found.Unread, "releases of Helm: "+err.Error()), nil
	}
	return err
}

// Requested reads the metrics of the API server.
func (c *Client) Requested(ctx context.Context, minor int) (out []Request, err error) {
	err = c.get(ctx, "/metrics", nil, "text/plain", func(r io.Reader) error {
		out, err = Requests(r, minor)
		return err
	})
	return out, err
}

// resource is a list of objects of a kind.
type resource struct{ path, kind string }

// resources finds the lists of some kinds, each in the version that the API server prefers. Events are left out: they are many, and
// nobody applies them.
func (c *Client) resources(ctx context.Context, kinds []string) (out []resource, unread []string, err error) {
	var groups struct {
		Groups []struct {
			Preferred struct {
				GroupVersion string `json:"groupVersion"`
			} `json:"preferredVersion"`
		} `json:"groups"`
	}
	if err := c.get(ctx, "/apis", nil, plainJSON, func(r io.Reader) error { return json.NewDecoder(r).Decode(&groups) }); err != nil {
		return nil, nil, err
	}
	paths := []string{"/api/v1"}
	for _, g := range groups.Groups {
		paths = append(paths, "/apis/"+g.Preferred.GroupVersion)
	}
	for _, at := range paths {
		var list struct {
			Resources []struct {
				Name  string   `json:"name"`
				Kind  string   `json:"kind"`
				Verbs []string `json:"verbs"`
			} `json:"resources"`
		}
		err := c.get(ctx, at, nil, plainJSON, func(r io.Reader) error { return json.NewDecoder(r).Decode(&list) })
		if status, ok := errors.AsType[*statusError](err); ok && (status.code == http.StatusServiceUnavailable || status.code == http.StatusNotFound) {
			continue // an extension of the API that does not run: its kinds are its own
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil {
			unread = append(unread, err.Error())
			continue
		}
		for _, r := range list.Resources {
			if slices.Contains(r.Verbs, "list") && !strings.Contains(r.Name, "/") && r.Kind != "Event" && slices.Contains(kinds, r.Kind) {
				out = append(out, resource{at + "/" + r.Name, r.Kind})
			}
		}
	}
	return out, unread, nil
}
