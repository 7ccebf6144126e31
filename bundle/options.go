package bundle

import (
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// WriterOptions say how a bundle is written; the zero value is a bare payload.
type WriterOptions struct {
	// Stub is the executable in front, at most MaxStubSize bytes; nil for none.
	Stub io.Reader
	// StubPlatform is what the stub runs on, as "linux/amd64".
	StubPlatform string
	// Stubs are the executables for hosts of other platforms than the first.
	Stubs []Stub
	// PartSize in bytes is set when w spreads over several files (see Parts); it
	// has to hold the stub and the head. 0 means one file.
	PartSize int64
	// TrustKeys are lines as in an allowed_signers file of OpenSSH: the keys that must have signed what this bundle's stub opens.
	TrustKeys []string
	// Sign, which may be nil, gets the index as it lies in the file and returns
	// an armored OpenSSH signature of it in SignatureNamespace.
	Sign func(index []byte) ([]byte, error)
	// ModTime of every file in the archive, to the second: SOURCE_DATE_EPOCH.
	// Zero means 1970-01-01, so that the default is reproducible.
	ModTime time.Time
	// Concurrency is the number of frames compressed at once, at most 6, each taking about 16 MiB; 0 means one per CPU. It does not
	// change the bytes written.
	Concurrency int
}

// Stub is an executable for one platform.
type Stub struct {
	Platform string // as "linux/arm64"
	Digest   digest.Digest
	Size     int64 // bytes
	Content  io.Reader
}

// Summary is what a Writer made.
type Summary struct {
	IndexDigest   digest.Digest // what a signature has to cover
	StubDigest    digest.Digest
	Size          int64 // bytes of the whole file
	PayloadOffset int64 // bytes before the payload: the stub's size
	Blobs         int
	BlobBytes     int64 // decoded
	StoredBytes   int64 // of the blobs' frames in the file
}
