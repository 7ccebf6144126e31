package steps

import (
	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/registry"
)

// Source lets the registry read blobs out of a bundle, in place.
func Source(b *bundle.Reader) registry.Source { return bundleSource{b} }

type bundleSource struct{ *bundle.Reader }

func (s bundleSource) Stat(d digest.Digest) (int64, bool) {
	if info, ok := s.Reader.Stat(d); ok {
		return info.Size, true
	}
	return s.Expects(d) // the site has it, or the push says so
}

func (s bundleSource) BlobAt(d digest.Digest) (registry.BlobReader, error) {
	return s.Reader.BlobAt(d)
}
