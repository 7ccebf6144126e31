package pull

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/containers/image/v5/docker"
	image5 "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Allowed applies the machine's signature policy to an image of the store that came by another way than from its own registry. That
// one is asked only where the policy wants signatures.
func Allowed(ctx context.Context, st *store.Store, sys *types.SystemContext, ref string, d digest.Digest) error {
	policy, err := readPolicy(sys)
	if policy == nil || err != nil {
		return err
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return err
	}
	pinned, err := reference.WithDigest(reference.TrimNamed(named), d)
	if err != nil {
		return err
	}
	there, err := docker.NewReference(pinned)
	if err != nil {
		return err
	}
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer func() { _ = pc.Destroy() }()
	_, err = pc.IsRunningImageAllowed(ctx, image5.UnparsedInstance(stored{store: st, ref: there, digest: d}, nil))
	if errors.Is(err, errUnsigned) {
		g := &gatherer{options: Options{System: sys}, policy: policy}
		return g.allowed(ctx, pinned, d)
	}
	return err
}

// errUnsigned says that signatures are wanted, which lie in the registry of the image.
var errUnsigned = errors.New("signatures are not in the store")

// stored is an image of the store under the name it has in its registry.
type stored struct {
	store  *store.Store
	ref    types.ImageReference
	digest digest.Digest
}

func (s stored) Reference() types.ImageReference { return s.ref }

func (s stored) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	d := s.digest
	if instance != nil {
		d = *instance
	}
	raw, err := s.store.ReadBlob(d, ocigraph.MaxManifest)
	return raw, manifest.GuessMIMEType(raw), err
}

func (s stored) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, errUnsigned
}

func (s stored) GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error) {
	return nil, 0, errors.ErrUnsupported // no policy asks for it
}

func (s stored) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

func (s stored) HasThreadSafeGetBlob() bool { return false }
func (s stored) Close() error               { return nil }

var _ types.ImageSource = stored{}

// Referrers are the manifests of a type that a registry knows to be about an image, by the referrers API of OCI's distribution
// specification. A registry that does not answer it knows none.
func Referrers(ctx context.Context, st *store.Store, o Options, ref string, image digest.Digest, artifactType string) ([]v1.Descriptor, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	g, err := newGatherer(st, o.withDefaults())
	if err != nil {
		return nil, err
	}
	defer g.remotes.close()
	there, err := g.remotes.locate(reference.TrimNamed(named))
	if err != nil {
		return nil, err
	}
	var index v1.Index
	err = there.each(ctx, func(l location) error {
		resp, err := l.request(ctx, http.MethodGet, "referrers/"+image.String()+"?artifactType="+url.QueryEscape(artifactType), manifestHeader())
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(io.LimitReader(resp.Body, ocigraph.MaxManifest))
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &index)
	})
	if err != nil {
		return nil, ctx.Err()
	}
	// Who answers may leave the choice to who asks.
	return slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool { return d.ArtifactType != artifactType }), nil
}
