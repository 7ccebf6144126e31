// Package bundle is the container format of sealbuild: one file that is an installer (the stub) with a payload behind it.
//
// The payload is one legal zstd stream whose decoded form is a tar archive of an OCI image layout, so that a stranger with zstd,
// tar and skopeo can read it without this package. An index behind the archive gives random access: any blob is found in O(1) and
// read alone, straight out of the file.
//
// What the package promises:
//
//   - Writing is one pass over the inputs with bounded memory. The same inputs
//     in the same order give the same bytes.
//   - Every length in a file is bounded by the file's size and by fixed limits
//     before anything is allocated for it; bad input gives an error, never a
//     panic.
//   - A file that is cut, foreign, damaged or from a later version is told
//     apart: *TruncatedError, ErrNotBundle, *CorruptError, *VersionError.
//   - A blob's reader reports io.EOF only after size and digest were right, and
//     a ranged read gives out nothing whose 4 MiB were not right.
//   - The index covers every byte of the file: who trusts IndexDigest, or the
//     signature of the index, can check all the rest with Verify, on all CPUs.
//   - A bundle may lie in several files, which are read in place.
//
// FORMAT.md in this directory specifies the bytes and gives the reasons.
package bundle
