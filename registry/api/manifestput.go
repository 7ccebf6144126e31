package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	"github.com/distribution/distribution/v3/manifest/schema2"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func (h *handler) putManifest(c *call) error {
	ctx := c.r.Context()
	tag, d, err := c.reference()
	if err != nil {
		return err
	}
	body, err := c.manifestBody()
	if err != nil {
		return err
	}
	m, desc, err := distribution.UnmarshalManifest(c.r.Header.Get("Content-Type"), body)
	if err != nil {
		return errcode.ErrorCodeManifestInvalid.WithDetail(err)
	}
	if tag == "" && d != desc.Digest {
		return errcode.ErrorCodeDigestInvalid.WithMessage("the manifest does not have this digest").WithDetail(map[string]any{"digest": desc.Digest})
	}
	subject, err := subjectOf(body)
	if err != nil {
		return errcode.ErrorCodeManifestInvalid.WithDetail(err)
	}
	if err := h.checkClass(m); err != nil {
		return err
	}
	manifests, err := c.repo.Manifests(ctx)
	if err != nil {
		return err
	}
	if _, err := manifests.Put(ctx, m); err != nil {
		return notTaken(err)
	}
	if tag != "" {
		if err := c.repo.Tags(ctx).Tag(ctx, tag, desc); err != nil {
			return fmt.Errorf("set tag: %w", err)
		}
	}
	ref, err := reference.WithDigest(c.repo.Named(), desc.Digest)
	if err != nil {
		return err
	}
	location, err := h.urls(c).BuildManifestURL(ref)
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Location", location)
	header.Set("Docker-Content-Digest", desc.Digest.String())
	if subject != "" {
		header.Set("OCI-Subject", subject.String()) // so that the client need not list its referrers under a tag
	}
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *call) manifestBody() ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxManifest+1))
	if err != nil {
		return nil, errcode.ErrorCodeManifestInvalid.WithDetail(err)
	}
	if len(body) > maxManifest {
		return nil, tooLarge{errcode.ErrorCodeManifestInvalid.WithMessage(fmt.Sprintf("the manifest has more than %d bytes", maxManifest))}
	}
	return body, nil
}

// subjectOf returns the digest of the manifest that a manifest refers to, or nothing.
func subjectOf(body []byte) (digest.Digest, error) {
	var m struct {
		Subject *v1.Descriptor `json:"subject"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return "", fmt.Errorf("parse manifest: %w", err)
	}
	if m.Subject == nil {
		return "", nil
	}
	if err := m.Subject.Digest.Validate(); err != nil {
		return "", fmt.Errorf("subject %.150q: %w", m.Subject.Digest, err)
	}
	return m.Subject.Digest, nil
}

// checkClass holds a manifest against the classes that may be pushed.
func (h *handler) checkClass(m distribution.Manifest) error {
	if len(h.Classes) == 0 {
		return nil
	}
	var config string
	switch m := m.(type) {
	case *schema2.DeserializedManifest:
		config = m.Config.MediaType
	case *ocischema.DeserializedManifest:
		config = m.Config.MediaType
	default:
		return nil // of an index, what it lists has been looked at
	}
	class := ""
	switch config {
	case schema2.MediaTypeImageConfig, v1.MediaTypeImageConfig:
		class = "image"
	case schema2.MediaTypePluginConfig:
		class = "plugin"
	}
	if class == "" || !slices.Contains(h.Classes, class) {
		return errcode.ErrorCodeDenied.WithMessage(fmt.Sprintf("this registry does not take manifests with a configuration of type %.150s", config))
	}
	return nil
}

// notTaken says why the storage did not take a manifest.
func notTaken(err error) error {
	var reasons distribution.ErrManifestVerification
	switch {
	case errors.Is(err, distribution.ErrUnsupported):
		return errcode.ErrorCodeUnsupported
	case !errors.As(err, &reasons):
		return err
	}
	var all errcode.Errors
	for _, reason := range reasons {
		var missing distribution.ErrManifestBlobUnknown
		switch {
		case errors.As(reason, &missing):
			all = append(all, errcode.ErrorCodeManifestBlobUnknown.WithDetail(map[string]any{"digest": missing.Digest}))
		case errors.Is(reason, digest.ErrDigestInvalidFormat), errors.Is(reason, digest.ErrDigestInvalidLength), errors.Is(reason, digest.ErrDigestUnsupported):
			all = append(all, errcode.ErrorCodeDigestInvalid.WithDetail(reason))
		default:
			all = append(all, errcode.ErrorCodeManifestInvalid.WithDetail(reason))
		}
	}
	return all
}

func (h *handler) deleteManifest(c *call) error {
	ctx := c.r.Context()
	tag, d, err := c.reference()
	if err != nil {
		return err
	}
	if !h.Delete {
		return errcode.ErrorCodeUnsupported.WithMessage("this registry deletes nothing")
	}
	tags := c.repo.Tags(ctx)
	if tag != "" {
		return c.deleted(tags.Untag(ctx, tag), errcode.ErrorCodeManifestUnknown)
	}
	manifests, err := c.repo.Manifests(ctx)
	if err != nil {
		return err
	}
	err = manifests.Delete(ctx, d)
	if err != nil {
		return c.deleted(err, errcode.ErrorCodeManifestUnknown)
	}
	// A tag must not name what is not there.
	left, err := tags.Lookup(ctx, v1.Descriptor{Digest: d})
	if err != nil {
		return fmt.Errorf("find tags of %s: %w", d, err)
	}
	for _, tag := range left {
		if err := tags.Untag(ctx, tag); err != nil && !errors.As(err, new(driver.PathNotFoundError)) {
			return fmt.Errorf("remove tag %s: %w", tag, err)
		}
	}
	return c.deleted(nil, errcode.ErrorCodeManifestUnknown)
}

func (h *handler) deleteBlob(c *call) error {
	ctx := c.r.Context()
	d, err := digest.Parse(c.variable("digest"))
	if err != nil {
		return errcode.ErrorCodeDigestInvalid.WithDetail(err)
	}
	if !h.Delete {
		return errcode.ErrorCodeUnsupported.WithMessage("this registry deletes nothing")
	}
	return c.deleted(c.repo.Blobs(ctx).Delete(ctx, d), errcode.ErrorCodeBlobUnknown)
}

// deleted answers a request to delete; missing is the error code for what is not there.
func (c *call) deleted(err error, missing errcode.ErrorCode) error {
	switch {
	case errors.Is(err, distribution.ErrBlobUnknown), errors.As(err, new(distribution.ErrTagUnknown)), errors.As(err, new(driver.PathNotFoundError)):
		return missing
	case errors.Is(err, distribution.ErrUnsupported):
		return errcode.ErrorCodeUnsupported
	case err != nil:
		return err
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
