package registry

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Blob is a piece of content: a layer, a config or a manifest. Size is in bytes.
type Blob struct {
	Digest digest.Digest
	Size   int64
}

// Repository is what one repository links to.
type Repository struct {
	Name      string                   // with its registry's domain, ':' of a port written '_': registry.k8s.io/pause
	Tags      map[string]digest.Digest // tag to manifest; every manifest named is in Manifests
	Manifests []Blob                   // manifests and indexes, children before parents
	Layers    []Blob                   // configs and layers
}

// Catalog is a set of repositories, sorted by name.
type Catalog struct {
	Repositories []Repository
}

// Blobs returns every blob of the catalog once, sorted by digest.
func (c Catalog) Blobs() []Blob {
	var all []Blob
	for _, r := range c.Repositories {
		all = append(append(all, r.Layers...), r.Manifests...)
	}
	slices.SortFunc(all, func(a, b Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return slices.CompactFunc(all, func(a, b Blob) bool { return a.Digest == b.Digest })
}

// BlobReader reads a blob at any offset. If it is also an io.Closer, it is closed after use. If it has a method Verified() bool
// that returns true, it gives out only what it has checked against the digest, and is not hashed again.
type BlobReader interface {
	io.ReaderAt
	Size() int64
}

// Source is where blobs come from. Its methods are called from several goroutines at once. What it gives out need not be checked:
// whoever reads compares digests. registrytest.Source is the suite that every implementation passes.
type Source interface {
	// Stat returns a blob's size in bytes, and whether the source has it. It must be cheap: no reading, no hashing. The size is 0
	// where it is not known before the blob is opened.
	Stat(d digest.Digest) (int64, bool)
	// OpenBlob reads a blob from its beginning. One that is not there is an error.
	OpenBlob(d digest.Digest) (io.ReadCloser, error)
	// BlobAt reads a blob at any offset; errors.ErrUnsupported where blobs are read from the beginning only.
	BlobAt(d digest.Digest) (BlobReader, error)
}

// unverifiedSource is a Source that hashes what it reads, and can do without: a session hashes every blob where it arrives.
type unverifiedSource interface {
	OpenUnverified(d digest.Digest) (io.ReadCloser, error)
}

// ErrInvalid is what every complaint about a name, a tag, a digest or a catalog wraps.
var ErrInvalid = errors.New("invalid")

// validate checks everything that will become a path or a number on the wire.
func (c Catalog) validate() error {
	for _, r := range c.Repositories {
		if err := checkRepository(r.Name); err != nil {
			return err
		}
		known := make(map[digest.Digest]bool, len(r.Manifests))
		for _, b := range r.Layers {
			if err := b.check(); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
		}
		for _, b := range r.Manifests {
			if err := b.check(); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
			known[b.Digest] = true
		}
		for tag, d := range r.Tags {
			if err := checkTag(tag); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
			if !known[d] {
				return fmt.Errorf("repository %s: tag %s names %s, which is not among its manifests: %w", r.Name, tag, d, ErrInvalid)
			}
		}
	}
	return nil
}

func (b Blob) check() error {
	if !isSHA256(b.Digest) {
		return fmt.Errorf("digest %.100q is not sha256: %w", b.Digest, ErrInvalid)
	}
	if b.Size < 0 || b.Size > maxBlobSize {
		return fmt.Errorf("blob %s: size %d is out of range: %w", b.Digest, b.Size, ErrInvalid)
	}
	return nil
}

// isSHA256 does what the digest's own validation does, without its regular expression: catalogs have thousands.
func isSHA256(d digest.Digest) bool {
	hex, ok := strings.CutPrefix(string(d), "sha256:")
	if !ok || len(hex) != 64 {
		return false
	}
	for _, c := range []byte(hex) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Merge returns what is in either catalog. A tag that both have names what it names in other.
func (c Catalog) Merge(other Catalog) Catalog {
	at := map[string]int{}
	var m Catalog
	for _, r := range append(slices.Clone(c.Repositories), other.Repositories...) {
		i, ok := at[r.Name]
		if !ok {
			i = len(m.Repositories)
			at[r.Name] = i
			m.Repositories = append(m.Repositories, Repository{Name: r.Name, Tags: map[string]digest.Digest{}})
		}
		known := &m.Repositories[i]
		maps.Copy(known.Tags, r.Tags)
		known.Layers = union(known.Layers, r.Layers)
		known.Manifests = union(known.Manifests, r.Manifests)
	}
	slices.SortFunc(m.Repositories, func(a, b Repository) int { return strings.Compare(a.Name, b.Name) })
	return m
}

// union keeps the order, in which children come before parents.
func union(a, b []Blob) []Blob {
	have := make(map[Blob]bool, len(a))
	for _, x := range a {
		have[x] = true
	}
	all := slices.Clone(a)
	for _, x := range b {
		if !have[x] {
			have[x] = true
			all = append(all, x)
		}
	}
	return all
}
