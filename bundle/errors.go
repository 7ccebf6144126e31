package bundle

import (
	"errors"
	"fmt"
)

// ErrNotBundle is returned by Open for a file that holds no bundle: neither
// the trailer at its end nor the head in its first MaxStubSize bytes.
var ErrNotBundle = errors.New("not a sealbuild bundle")

// ErrNoBlob is returned for a digest that no blob of the bundle has.
var ErrNoBlob = errors.New("blob is not in the bundle")

// Names of the parts of a file that are not archive entries, as they stand in the Entry field of errors and of Damage. Archive
// entries have their path there, and the tar header before an entry is "header of PATH".
const (
	PartStub      = "stub"
	PartHead      = "head"
	PartEnd       = "end of archive"
	PartIndex     = "index"
	PartSignature = "signature"
	PartTrailer   = "trailer"
	PartBehind    = "bytes behind the trailer"
)

func headerOf(path string) string { return "header of " + path }

// TruncatedError says that the file is a bundle whose tail is missing.
type TruncatedError struct {
	Entry string // what is cut: a path in the archive or one of the Part names
	Start int64  // where that begins in the file, in bytes
	End   int64  // where it would end; 0 when the bytes that say so are missing
	Size  int64  // where the file ends
}

func (e *TruncatedError) Error() string {
	want := ""
	if e.End > 0 {
		want = fmt.Sprintf(" and ends at byte %d", e.End)
	}
	return fmt.Sprintf("bundle is truncated: the file ends at byte %d, within %s, which begins at byte %d%s; copy the file again",
		e.Size, e.Entry, e.Start, want)
}

// VersionError says that the file is a bundle this version of the program cannot read.
type VersionError struct {
	Version   int    // the format version the file declares
	Supported int    // the highest version this package reads
	Features  uint32 // feature bits the file needs and this package lacks
}

func (e *VersionError) Error() string {
	if e.Version == e.Supported {
		return fmt.Sprintf("bundle needs features %#x of format version %d, which this program does not know; use a newer sealinstall",
			e.Features, e.Version)
	}
	return fmt.Sprintf("bundle has format version %d, this program reads up to %d; use a newer sealinstall", e.Version, e.Supported)
}

// CorruptError says which bytes of a bundle are not what they must be.
type CorruptError struct {
	Entry  string // a path in the archive or one of the Part names
	Offset int64  // first byte of the damaged range, from the start of the file
	Length int64  // bytes in the range
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("bundle is damaged: %s, bytes %d to %d: %v; copy the file again", e.Entry, e.Offset, e.Offset+e.Length, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corrupt(entry string, offset, length int64, format string, args ...any) *CorruptError {
	return &CorruptError{Entry: entry, Offset: offset, Length: length, Err: fmt.Errorf(format, args...)}
}
