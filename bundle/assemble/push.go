package assemble

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Pushed is what Push wrote.
type Pushed struct {
	Ref    string        // where the image is now
	Digest digest.Digest // as it is there
	Images int           // container images that went with it
}

// Push writes a cluster image of the store to a registry, unchanged, and beside it, in the same repository, the container images it
// needs. Blobs that the registry has are not sent.
func (b *Builder) Push(ctx context.Context, name, destination string) (Pushed, error) {
	rec, err := b.Store.Load(name)
	if err != nil {
		return Pushed{}, err
	}
	if destination == "" {
		destination = rec.Name
	}
	named, err := reference.ParseNormalizedNamed(destination)
	if err != nil {
		return Pushed{}, fmt.Errorf("image name %q: %w", destination, err)
	}
	ref := reference.TagNameOnly(named).String()
	platforms, err := store.ParsePlatforms(rec.Platform)
	if err != nil {
		return Pushed{}, fmt.Errorf("image %s: %w", rec.Name, err)
	}
	dir, err := b.Store.TempDir("push")
	if err != nil {
		return Pushed{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if rec.Manifest, err = b.present(rec, platforms); err != nil {
		return Pushed{}, fmt.Errorf("image %s: %w", rec.Name, err)
	}
	// The images go first: an image that has its name has everything.
	if len(rec.Images) > 0 {
		b.report().Phase(fmt.Sprintf("push %s of %s", count.Of(len(rec.Images), "container image"), ref), 0)
		if err := b.pushAttachments(ctx, dir, rec, platforms, ref); err != nil {
			return Pushed{}, err
		}
	}
	b.report().Phase("push "+ref, 0)
	if err := b.pushLayout(ctx, filepath.Join(dir, "image"), rec.Manifest, platforms, ref); err != nil {
		return Pushed{}, err
	}
	return Pushed{Ref: ref, Digest: rec.Manifest.Digest, Images: len(rec.Images)}, nil
}

// present is what of an image the store has: the image itself, or of an index that was pulled for some of its platforms an index of
// those. A registry takes no index whose images it lacks.
func (b *Builder) present(rec store.Record, platforms []v1.Platform) (v1.Descriptor, error) {
	raw, err := b.Store.ReadBlob(rec.Manifest.Digest, ocigraph.MaxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read manifest %s: %w", rec.Manifest.Digest, err)
	}
	there := slices.DeleteFunc(slices.Clone(index.Manifests), func(d v1.Descriptor) bool {
		_, ok := b.Store.Has(d.Digest)
		return !ok
	})
	if len(there) == len(index.Manifests) {
		return rec.Manifest, nil
	}
	index.Manifests = there
	all, err := needs(rec.Images)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if index.Annotations == nil {
		index.Annotations = map[string]string{}
	}
	index.Annotations[needsAnnotation] = all.String()
	if index.MediaType == "" {
		index.MediaType = rec.Manifest.MediaType
	}
	d, err := b.Store.PutJSON(index.MediaType, index)
	if err == nil {
		b.report().Note(fmt.Sprintf("%s was pulled for %s alone, so what is pushed is an index of that, %s, and not %s",
			rec.Name, store.FormatPlatforms(platforms), d.Digest, rec.Manifest.Digest))
	}
	return d, err
}

// pushAttachments writes what an image needs, and of an index also what each
// platform's image needs: whoever pulls that one alone gets nothing else.
func (b *Builder) pushAttachments(ctx context.Context, dir string, rec store.Record, platforms []v1.Platform, ref string) error {
	parts := map[digest.Digest][]v1.Platform{rec.Manifest.Digest: platforms}
	if len(platforms) > 1 {
		for _, p := range platforms {
			one, err := b.Store.OfPlatform(rec.Manifest, p)
			if err != nil {
				return err
			}
			parts[one.Digest] = []v1.Platform{p}
		}
	}
	for n, image := range slices.Sorted(maps.Keys(parts)) {
		images, err := resolve.For(b.Store, rec.Images, platforms, parts[image])
		if err != nil {
			return err
		}
		artifact, err := b.attach(rec, image, images, parts[image])
		if err != nil {
			return err
		}
		at, err := attachmentRef(ref, image)
		if err != nil {
			return err
		}
		if err := b.pushLayout(ctx, filepath.Join(dir, fmt.Sprint("images-", n)), artifact, platforms[:1], at); err != nil {
			return err
		}
	}
	return nil
}

// pushLayout copies an image of the store, and nothing is changed on the way.
func (b *Builder) pushLayout(ctx context.Context, dir string, root v1.Descriptor, platforms []v1.Platform, to string) error {
	if err := b.Store.ExportLayout(dir, root, platforms...); err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	source, err := layout.NewReference(dir, "")
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	named, err := reference.ParseNormalizedNamed(to)
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	destination, err := docker.NewReference(named)
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	defer func() { _ = policy.Destroy() }()
	_, err = copy.Image(ctx, policy, destination, source, &copy.Options{
		DestinationCtx: b.System, ReportWriter: nil, PreserveDigests: true,
		ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: uint(max(b.Jobs, 0)),
	})
	if err != nil {
		return fmt.Errorf("push %s: %w%s", to, err, pushRemedy(err))
	}
	return nil
}

// mayNot finds the specification's codes UNAUTHORIZED and DENIED where containers/image tells them, by their names or by the
// texts that go with them: their types are of a module that is archived.
var mayNot = regexp.MustCompile(`(?m)(^|: )(unauthorized|denied|authentication required|requested access to the resource is denied)(: |$)`)

// pushRemedy is what the operator can do about a failed push.
func pushRemedy(err error) string {
	var authority x509.UnknownAuthorityError
	var dial *net.OpError
	switch {
	case errors.As(err, &docker.ErrUnauthorizedForCredentials{}), mayNot.MatchString(err.Error()):
		return " (log in with sealbuild login, as a user who may write there)"
	case errors.As(err, &authority):
		return " (put the registry's CA into /etc/containers/certs.d/HOST:PORT/ca.crt, or name its directory with --cert-dir)"
	case errors.Is(err, http.ErrSchemeMismatch), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return " (the registry speaks plain HTTP: mark it insecure = true in registries.conf, or give --tls-verify=false)"
	case errors.As(err, new(docker.UnexpectedHTTPStatusError)):
		return " (the registry, or a proxy before it, is out of order: run it again later)"
	case errors.As(err, &dial):
		return " (check the network, the proxy and the registry's name)"
	}
	return ""
}
