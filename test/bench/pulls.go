package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
)

// pull is one request that a client makes to get an image.
type pull struct {
	path   string // of the URL
	digest digest.Digest
	size   int64
}

// pulls are everything that clients ask for to have every container image.
type pulls struct {
	first pull // a manifest, by its tag as people write it
	layer pull // the one whose size is nearest to 25 MB
	all   []pull
	bytes int64 // of all
}

const (
	manifestLimit = 4 << 20
	layerSize     = 25 << 20
	// blobPath tells blobs from manifests.
	blobPath = "/blobs/"
)

// findPulls reads from the bundle what its registry must answer.
func findPulls(r *bundle.Reader) (pulls, error) {
	var p pulls
	for _, i := range r.Images() {
		if i.Kind != bundle.KindImage {
			continue
		}
		named, err := reference.ParseNormalizedNamed(i.Name)
		if err != nil {
			return p, fmt.Errorf("image %s: %w", i.Name, err)
		}
		repository := "/v2/" + path.Join(strings.ReplaceAll(reference.Domain(named), ":", "_"), reference.Path(named))
		if tagged, ok := named.(reference.Tagged); ok && p.first.path == "" {
			p.first = pull{repository + "/manifests/" + tagged.Tag(), i.Digest, i.ManifestSize}
		}
		if err := p.image(r, repository, i.Digest, 0); err != nil {
			return p, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	if p.first.path == "" || p.layer.path == "" {
		return p, errors.New("the bundle holds no image with a tag and a layer")
	}
	return p, nil
}

// image adds a manifest and what it names; an index names manifests.
func (p *pulls) image(r *bundle.Reader, repository string, d digest.Digest, depth int) error {
	if depth > 2 {
		return errors.New("indexes lie too deep in one another")
	}
	data, err := r.ReadBlob(d, manifestLimit)
	if err != nil {
		return err
	}
	p.add(pull{repository + "/manifests/" + d.String(), d, int64(len(data))})
	var m struct {
		v1.Manifest
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for _, child := range m.Manifests {
		// Manifests of other platforms are not in the bundle.
		if _, ok := r.Stat(child.Digest); ok {
			if err := p.image(r, repository, child.Digest, depth+1); err != nil {
				return err
			}
		}
	}
	if len(m.Manifests) > 0 {
		return nil
	}
	for _, b := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		p.add(pull{repository + blobPath + b.Digest.String(), b.Digest, b.Size})
	}
	return nil
}

func (p *pulls) add(one pull) {
	p.all = append(p.all, one)
	p.bytes += one.size
	away := func(n int64) int64 { return max(n-layerSize, layerSize-n) }
	if strings.Contains(one.path, blobPath) && (p.layer.path == "" || away(one.size) < away(p.layer.size)) {
		p.layer = one
	}
}
