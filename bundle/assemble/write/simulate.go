package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/catalog"
)

// SimulationError is every reference that a node could not pull from the bundle.
type SimulationError struct {
	Failures []PullFailure
}

// PullFailure is one of them.
type PullFailure struct {
	Ref string
	Err error
}

func (e *SimulationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s cannot be pulled from the bundle:", count.Of(len(e.Failures), "image"))
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "\n  %s: %v", f.Ref, f.Err)
	}
	return b.String()
}

// Simulate pulls every image of a bundle as a node will, without moving the bytes of its blobs: the registry that the installer
// serves is asked, in this process, what containerd asks a mirror. A failure is a *SimulationError that names every reference with
// something missing or of another size below it. That the blobs are what their digests say is for Verify to prove.
func Simulate(ctx context.Context, r *bundle.Reader) error {
	src := Served(r)
	failed := &SimulationError{}
	fail := func(ref string, err error) { failed.Failures = append(failed.Failures, PullFailure{ref, err}) }
	var refs []catalog.Ref
	for _, i := range r.Images() {
		one := RegistryRefs(i)
		// Images are looked at one by one first, so that an incomplete one hides no other.
		if _, err := catalog.Build(ctx, one, src); err != nil {
			fail(i.Name, err)
		} else if i.Kind == bundle.KindImage {
			refs = append(refs, one...)
		}
	}
	images, err := catalog.Build(ctx, refs, src)
	if err != nil {
		return errors.Join(err, failed.orNil())
	}
	ctx, cancel := context.WithCancel(ctx) // the registry lives as long
	defer cancel()
	h, err := registry.NewHandler(ctx, registry.HandlerOptions{Catalog: &images, Source: src})
	if err != nil {
		return fmt.Errorf("serve the bundle: %w", err)
	}
	node := &simulatedNode{registry: h, seen: map[string]bool{}, is: nodes(r)}
	for _, i := range r.Images() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !slices.ContainsFunc(refs, func(ref catalog.Ref) bool { return ref.Name == i.Name }) {
			continue
		}
		if err := node.pull(ctx, i); err != nil {
			fail(i.Name, err)
		}
	}
	return failed.orNil()
}

func (e *SimulationError) orNil() error {
	if len(e.Failures) == 0 {
		return nil
	}
	return e
}

// Served is a bundle as a registry reads it.
func Served(r *bundle.Reader) catalog.Source { return inBundle{r} }

// inBundle is a bundle as the registry reads it.
type inBundle struct{ *bundle.Reader }

func (s inBundle) Stat(d digest.Digest) (int64, bool) {
	if info, ok := s.Reader.Stat(d); ok {
		return info.Size, true
	}
	return s.Expects(d) // at the site
}

func (s inBundle) BlobAt(d digest.Digest) (catalog.BlobReader, error) { return s.Reader.BlobAt(d) }

// nodes are the platforms of the hosts that the bundle is for: those of its cluster images.
func nodes(r *bundle.Reader) []v1.Platform {
	var all []string
	for _, i := range r.Images() {
		if i.Kind == bundle.KindCluster {
			all = append(all, i.Platforms...)
		}
	}
	slices.Sort(all)
	var is []v1.Platform
	for _, name := range slices.Compact(all) {
		is = append(is, *store.PlatformOf(name))
	}
	return is
}

// simulatedNode asks as containerd does, on a host of each platform.
type simulatedNode struct {
	registry http.Handler
	is       []v1.Platform
	seen     map[string]bool // blobs of a repository that were asked for
}

// target is an image by the name with which a mirror is asked.
type target struct {
	path, domain string
}

func (n *simulatedNode) pull(ctx context.Context, i bundle.Image) error {
	named, err := reference.ParseNormalizedNamed(i.Name)
	if err != nil {
		return err
	}
	t := target{reference.Path(named), reference.Domain(named)}
	what, root := i.Digest.String(), i.Digest
	if pinned, ok := named.(reference.Digested); ok { // a tag beside it counts for nothing
		what, root = pinned.Digest().String(), pinned.Digest()
	} else if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		what = tagged.Tag()
	}
	head, err := n.ask(ctx, http.MethodHead, t, "manifests", what)
	if err != nil {
		return err
	}
	if got := head.header.Get("Docker-Content-Digest"); got != root.String() {
		return fmt.Errorf("the name resolves to %s, not to %s", got, root)
	}
	for _, r := range i.Referrers {
		if err := n.manifest(ctx, t, r.Digest, nil, nil); err != nil {
			return fmt.Errorf("referrer: %w", err)
		}
	}
	var hosts []v1.Platform // that are meant to pull it
	for _, host := range n.is {
		if name := store.Platform(host); slices.Contains(i.Platforms, name) || store.SameFamily(i.Platforms, name) {
			hosts = append(hosts, host)
		}
	}
	return n.manifest(ctx, t, root, i.Platforms, hosts)
}

// manifest gets a manifest, and of an index those of the wanted platforms and those that the hosts choose: it asks for what a node
// asks for, which is no walk.
func (n *simulatedNode) manifest(ctx context.Context, t target, d digest.Digest, want []string, hosts []v1.Platform) error {
	got, err := n.ask(ctx, http.MethodGet, t, "manifests", d.String())
	if err != nil {
		return err
	}
	if sum := d.Algorithm().FromBytes(got.body.Bytes()); sum != d {
		return fmt.Errorf("manifest %s arrives as %s", d, sum)
	}
	m, err := ocigraph.Parse(d, got.body.Bytes())
	if err != nil {
		return err
	}
	for _, leaf := range m.Leaves() {
		if err := n.blob(ctx, t, leaf); err != nil {
			return err
		}
	}
	if len(m.Manifests) == 0 {
		return nil
	}
	for _, name := range want {
		at := slices.IndexFunc(m.Manifests, func(c v1.Descriptor) bool { return c.Platform != nil && store.Platform(*c.Platform) == name })
		if at < 0 { // then what says no platform
			at = slices.IndexFunc(m.Manifests, func(c v1.Descriptor) bool { return c.Platform == nil })
		}
		if at < 0 {
			return fmt.Errorf("index %s names nothing for %s", d, name)
		}
		if err := n.manifest(ctx, t, m.Manifests[at].Digest, []string{name}, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, host := range hosts {
		child, ok := store.Choose(host, m.Manifests)
		if !ok {
			return fmt.Errorf("index %s has nothing that containerd takes on a host of %s", d, store.Platform(host))
		}
		if err := n.manifest(ctx, t, child.Digest, nil, []v1.Platform{host}); err != nil {
			return fmt.Errorf("a host of %s: %w", store.Platform(host), err)
		}
	}
	return nil
}

// blob asks whether a config or layer is there, and as large as it must be.
func (n *simulatedNode) blob(ctx context.Context, t target, d v1.Descriptor) error {
	key := t.domain + "/" + t.path + "@" + d.Digest.String()
	if n.seen[key] {
		return nil
	}
	got, err := n.ask(ctx, http.MethodHead, t, "blobs", d.Digest.String())
	if err != nil {
		return err
	}
	if length := got.header.Get("Content-Length"); length != fmt.Sprint(d.Size) {
		return fmt.Errorf("blob %s has %s bytes, not %d", d.Digest, length, d.Size)
	}
	n.seen[key] = true
	return nil
}

func (n *simulatedNode) ask(ctx context.Context, method string, t target, kind, what string) (*answer, error) {
	u := url.URL{Scheme: "http", Host: "bundle", Path: "/v2/" + t.path + "/" + kind + "/" + what, RawQuery: "ns=" + url.QueryEscape(t.domain)}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.RequestURI = u.RequestURI()
	req.RemoteAddr = "127.0.0.1:0"
	if kind == "manifests" {
		req.Header["Accept"] = manifest.DefaultRequestedManifestMIMETypes
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	n.registry.ServeHTTP(a, req)
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %d %s", method, u.RequestURI(), a.status, bytes.TrimSpace(a.body.Bytes()))
	}
	return a, nil
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
