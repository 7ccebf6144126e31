package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// listReferrers answers which manifests of a repository name another as their subject. A repository that is not there has none.
func (h *handler) listReferrers(c *call) error {
	ctx := c.r.Context()
	subject, err := digest.Parse(c.variable("digest"))
	if err != nil {
		return errcode.ErrorCodeDigestInvalid.WithDetail(err)
	}
	found, err := h.referrers.of(ctx, c.repo.Named().Name(), subject)
	if err != nil {
		return fmt.Errorf("find referrers: %w", err)
	}
	q := c.r.URL.Query()
	types, last := q["artifactType"], q.Get("last")
	list, size := []v1.Descriptor{}, 0
	for _, d := range found {
		if last != "" && d.String() <= last {
			continue
		}
		desc, ok, err := h.referrers.describe(ctx, d)
		if err != nil {
			return fmt.Errorf("describe referrer: %w", err)
		}
		if !ok || len(types) > 0 && !slices.Contains(types, desc.ArtifactType) {
			continue
		}
		text, err := json.Marshal(desc)
		if err != nil {
			return fmt.Errorf("describe referrer %s: %w", d, err)
		}
		if size += len(text); size > maxManifest && len(list) > 0 {
			c.next(url.Values{"artifactType": types, "last": {list[len(list)-1].Digest.String()}})
			break
		}
		list = append(list, desc)
	}
	if len(types) > 0 {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return c.json(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: list}, v1.MediaTypeImageIndex)
}

// subjects finds referrers by reading the manifests of a repository, each once: what a digest names has one subject, or none, for
// ever. So nothing beside the manifests is kept, in whatever way they came.
type subjects struct {
	driver driver.StorageDriver

	mu    sync.Mutex
	known map[string]map[digest.Digest]digest.Digest // per repository: manifest to subject, or to nothing
}

// of returns the manifests of a repository that refer to subject, sorted.
func (s *subjects) of(ctx context.Context, repo string, subject digest.Digest) ([]digest.Digest, error) {
	linked, err := s.linked(ctx, repo)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.known[repo]
	s.mu.Unlock()
	var found []digest.Digest
	now := make(map[digest.Digest]digest.Digest, len(linked))
	for _, d := range linked {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		named, ok := known[d]
		if !ok {
			body, err := s.content(ctx, d)
			if err != nil {
				return nil, err
			}
			if body == nil {
				continue // it may be there the next time
			}
			named, _ = subjectOf(body) // whoever put it there has been told
		}
		now[d] = named
		if named == subject {
			found = append(found, d)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[repo] = now; len(now) == 0 {
		delete(s.known, repo)
	}
	slices.Sort(found)
	return found, nil
}

// linked lists the manifests of a repository.
func (s *subjects) linked(ctx context.Context, repo string) ([]digest.Digest, error) {
	revisions := path.Join(repositories, repo, "_manifests/revisions/sha256")
	entries, err := s.driver.List(ctx, revisions)
	if errors.As(err, new(driver.PathNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []digest.Digest
	for _, entry := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, path.Base(entry))
		link, err := s.driver.GetContent(ctx, path.Join(entry, "link"))
		if errors.As(err, new(driver.PathNotFoundError)) {
			continue // deleted
		}
		if err != nil {
			return nil, err
		}
		if string(link) == d.String() && d.Validate() == nil {
			list = append(list, d)
		}
	}
	return list, nil
}

// content reads a manifest; nil if it is not there, or not whole.
func (s *subjects) content(ctx context.Context, d digest.Digest) ([]byte, error) {
	hex := d.Encoded()
	body, err := s.driver.GetContent(ctx, path.Join(blobs, d.Algorithm().String(), hex[:2], hex, "data"))
	switch {
	case errors.As(err, new(driver.PathNotFoundError)):
		return nil, nil
	case err != nil:
		return nil, err
	case digest.FromBytes(body) != d:
		return nil, nil
	}
	return body, nil
}

// describe makes the descriptor of a referrer; !ok if it is gone by now.
func (s *subjects) describe(ctx context.Context, d digest.Digest) (desc v1.Descriptor, ok bool, err error) {
	body, err := s.content(ctx, d)
	if err != nil || body == nil {
		return v1.Descriptor{}, false, err
	}
	var m struct {
		MediaType    string            `json:"mediaType"`
		ArtifactType string            `json:"artifactType"`
		Config       *v1.Descriptor    `json:"config"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return v1.Descriptor{}, false, fmt.Errorf("parse manifest %s: %w", d, err)
	}
	desc = v1.Descriptor{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Digest: d, Size: int64(len(body)), Annotations: m.Annotations}
	if desc.MediaType == "" { // OCI lets it be left out
		if desc.MediaType = v1.MediaTypeImageIndex; m.Config != nil {
			desc.MediaType = v1.MediaTypeImageManifest
		}
	}
	if desc.ArtifactType == "" && m.Config != nil {
		desc.ArtifactType = m.Config.MediaType
	}
	return desc, true, nil
}
