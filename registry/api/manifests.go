package api

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
)

// maxManifest is the size in bytes up to which manifests are taken and given out, and about that of an answer that lists referrers.
const maxManifest = 4 << 20

// body answers with all of a body.
func (c *call) body(body []byte) error {
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(body) // a client that has gone away needs no answer
	return nil
}

// reference returns the tag or the digest by which a manifest is meant.
func (c *call) reference() (tag string, d digest.Digest, err error) {
	ref := c.variable("reference")
	if !strings.Contains(ref, ":") {
		return ref, "", nil
	}
	d, err = digest.Parse(ref)
	if err != nil {
		return "", "", errcode.ErrorCodeDigestInvalid.WithDetail(err)
	}
	return "", d, nil
}

func (h *handler) getManifest(c *call) error {
	ctx := c.r.Context()
	tag, d, err := c.reference()
	if err != nil {
		return err
	}
	if tag != "" {
		desc, err := c.repo.Tags(ctx).Get(ctx, tag)
		if errors.As(err, new(distribution.ErrTagUnknown)) {
			return errcode.ErrorCodeManifestUnknown.WithDetail(err)
		}
		if err != nil {
			return err
		}
		d = desc.Digest
	}
	m, err := c.manifest(d)
	if err != nil {
		return err
	}
	if list, ok := m.(*manifestlist.DeserializedManifestList); ok && tag != "" && !accepts(c.r, list.MediaType) {
		if d, err = plainImage(list); err != nil {
			return err
		}
		if m, err = c.manifest(d); err != nil {
			return err
		}
	}
	mediaType, body, err := m.Payload()
	if err != nil {
		return err
	}
	if _, ok := m.(*ocischema.DeserializedManifest); ok && !accepts(c.r, mediaType) {
		return errcode.ErrorCodeManifestUnknown.WithMessage("the manifest is one of OCI, which the client does not accept")
	}
	header := c.w.Header()
	header.Set("Etag", `"`+d.String()+`"`)
	header.Set("Docker-Content-Digest", d.String())
	if has(c.r, d) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", mediaType)
	return c.body(body)
}

func (c *call) manifest(d digest.Digest) (distribution.Manifest, error) {
	ctx := c.r.Context()
	manifests, err := c.repo.Manifests(ctx)
	if err != nil {
		return nil, err
	}
	m, err := manifests.Get(ctx, d)
	if errors.As(err, new(distribution.ErrManifestUnknownRevision)) {
		return nil, errcode.ErrorCodeManifestUnknown.WithDetail(err)
	}
	return m, err
}

// plainImage chooses for clients that were written before lists of manifests: they know of one platform.
func plainImage(list *manifestlist.DeserializedManifestList) (digest.Digest, error) {
	for _, m := range list.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == "amd64" {
			return m.Digest, nil
		}
	}
	return "", errcode.ErrorCodeManifestUnknown.WithMessage("the client does not accept a list of manifests, and this one has none for linux/amd64")
}

// accepts tells whether the client understands a media type. A client that names no type, or takes any, gets what there is.
func accepts(r *http.Request, mediaType string) bool {
	all := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(all) == "" {
		return true
	}
	for one := range strings.SplitSeq(all, ",") {
		name, _, err := mime.ParseMediaType(one)
		if err == nil && (name == mediaType || name == "*/*" || name == "application/*") {
			return true
		}
	}
	return false
}

// has tells whether the client says that it has a manifest already.
func has(r *http.Request, d digest.Digest) bool {
	for one := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || strings.Trim(one, `"`) == d.String() {
			return true
		}
	}
	return false
}
