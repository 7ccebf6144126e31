// Package catalog names images: which repositories there are, and the blobs and tags of each. [Build] finds out by reading
// manifests; a [Source] is where blobs are read from.
package catalog

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// MaxBlobSize is how large a blob may be, in bytes: 4 TiB.
const MaxBlobSize = 1 << 42

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

// Links is a repository as sets, to look things up.
type Links struct {
	Layers    map[digest.Digest]bool
	Manifests map[digest.Digest]bool
	Tags      map[string]digest.Digest
}

// Links returns what the repository links to, to look things up.
func (r Repository) Links() *Links {
	l := &Links{make(map[digest.Digest]bool, len(r.Layers)), make(map[digest.Digest]bool, len(r.Manifests)), r.Tags}
	for _, b := range r.Layers {
		l.Layers[b.Digest] = true
	}
	for _, b := range r.Manifests {
		l.Manifests[b.Digest] = true
	}
	return l
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

// UnverifiedSource is a [Source] that hashes what it reads, and also gives out blobs unhashed: a sync hashes every blob where it
// arrives.
type UnverifiedSource interface {
	OpenUnverified(d digest.Digest) (io.ReadCloser, error)
}

// Close closes a blob's reader, if it has to be closed.
func Close(at BlobReader) {
	if c, ok := at.(io.Closer); ok {
		c.Close()
	}
}

// Section returns a reader of n bytes of a blob from offset. Its Close closes the blob's reader.
func Section(at BlobReader, offset, n int64) io.ReadCloser {
	return section{io.NewSectionReader(at, offset, n), at}
}

type section struct {
	io.Reader
	at BlobReader
}

func (s section) Close() error {
	Close(s.at)
	return nil
}

// ErrDamaged is wrapped when the content of a blob does not have its digest.
var ErrDamaged = errors.New("content does not match its digest")

// ErrInvalid is what every complaint about a name, a tag, a digest or a catalog wraps.
var ErrInvalid = errors.New("invalid")

// Validate checks everything that will become a path or a number on the wire; the error wraps [ErrInvalid].
func (c Catalog) Validate() error {
	for _, r := range c.Repositories {
		if err := CheckRepository(r.Name); err != nil {
			return err
		}
		known := make(map[digest.Digest]bool, len(r.Manifests))
		for _, b := range r.Layers {
			if err := b.Check(); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
		}
		for _, b := range r.Manifests {
			if err := b.Check(); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
			known[b.Digest] = true
		}
		for tag, d := range r.Tags {
			if err := CheckTag(tag); err != nil {
				return fmt.Errorf("repository %s: %w", r.Name, err)
			}
			if !known[d] {
				return fmt.Errorf("repository %s: tag %s names %s, which is not among its manifests: %w", r.Name, tag, d, ErrInvalid)
			}
		}
	}
	return nil
}

// Check accepts blobs with a sha256 digest and a size up to [MaxBlobSize]; the error wraps [ErrInvalid].
func (b Blob) Check() error {
	if !IsSHA256(b.Digest) {
		return fmt.Errorf("digest %.100q is not sha256: %w", b.Digest, ErrInvalid)
	}
	if b.Size < 0 || b.Size > MaxBlobSize {
		return fmt.Errorf("blob %s: size %d is out of range: %w", b.Digest, b.Size, ErrInvalid)
	}
	return nil
}

// IsSHA256 says whether d is a valid sha256 digest. It does what the digest's own validation does, without its regular expression:
// catalogs have thousands.
func IsSHA256(d digest.Digest) bool {
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
