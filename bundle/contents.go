package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Platforms lists what the bundle has a stub for, the one in front first.
func (r *Reader) Platforms() []string {
	var list []string
	if r.start > 0 && r.index.Stub.Platform != "" {
		list = append(list, r.index.Stub.Platform)
	}
	for _, s := range r.index.Stubs {
		list = append(list, s.Platform)
	}
	return list
}

// ErrNoStub is returned for a platform that the bundle has no stub for.
var ErrNoStub = errors.New("the bundle has no installer for the platform")

// OpenStub returns the stub for a platform, as "linux/arm64". What is read from it was checked.
func (r *Reader) OpenStub(platform string) (*io.SectionReader, error) {
	if platform == r.index.Stub.Platform && r.start > 0 {
		h := sha256.New()
		if _, err := io.Copy(h, r.Stub()); err != nil {
			return nil, fmt.Errorf("read the stub: %w", err)
		}
		if got := sumDigest(h.Sum(nil)); got != r.index.Stub.Digest {
			return nil, corrupt(PartStub, 0, r.start, "it hashes to %s", got)
		}
		return r.Stub(), nil
	}
	for _, s := range r.index.Stubs {
		if s.Platform == platform {
			b, err := r.BlobAt(s.Digest)
			if err != nil {
				return nil, err
			}
			return io.NewSectionReader(b, 0, b.Size()), nil
		}
	}
	return nil, fmt.Errorf("%w %s; it has one for %s", ErrNoStub, platform, strings.Join(r.Platforms(), ", "))
}

// StubDigest is what the index says of the stub for a platform; empty if there is none.
func (r *Reader) StubDigest(platform string) digest.Digest {
	if platform == r.index.Stub.Platform && r.start > 0 {
		return r.index.Stub.Digest
	}
	for _, s := range r.index.Stubs {
		if s.Platform == platform {
			return s.Digest
		}
	}
	return ""
}

// MaxDocument bounds a document, in bytes.
const MaxDocument = 64 << 20

// Documents lists the names of the documents in the order they lie in the file.
func (r *Reader) Documents() []string {
	var names []string
	for i := range r.index.Entries {
		if path := r.index.Entries[i].Path; isDocument(path) {
			names = append(names, path)
		}
	}
	return names
}

// ErrNoDocument is returned for a name that no document has.
var ErrNoDocument = errors.New("the bundle has no such document")

// Document reads a document, verified.
func (r *Reader) Document(name string) ([]byte, error) {
	for i := range r.index.Entries {
		if e := &r.index.Entries[i]; e.Path == name && isDocument(name) {
			return r.read(e, MaxDocument)
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoDocument, name)
}
