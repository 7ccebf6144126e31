package registry

import (
	"path"

	"github.com/opencontainers/go-digest"
)

// The distribution registry's layout, version 2, as slash-separated paths below a root.
const (
	layoutRoot         = "docker/registry/v2"
	layoutBlobs        = layoutRoot + "/blobs"
	layoutRepositories = layoutRoot + "/repositories"
	// ownDirectory holds what is under way. It lies beside the layout's own tree, on the same filesystem, so that
	// renames work and no registry or garbage collector looks into it.
	ownDirectory     = ".sealbuild"
	partialDirectory = ownDirectory + "/partial"
)

// blobData returns the path of a blob's content. d must be a valid sha256 digest.
func blobData(d digest.Digest) string {
	hex := d.Encoded()
	return path.Join(layoutBlobs, "sha256", hex[:2], hex, "data")
}

func layerLink(repo string, d digest.Digest) string {
	return path.Join(layoutRepositories, repo, "_layers", "sha256", d.Encoded(), "link")
}

func revisionLink(repo string, d digest.Digest) string {
	return path.Join(layoutRepositories, repo, "_manifests", "revisions", "sha256", d.Encoded(), "link")
}

// tagHistoryLink records that a tag once named a manifest; the registry needs it to delete manifests.
func tagHistoryLink(repo, tag string, d digest.Digest) string {
	return path.Join(layoutRepositories, repo, "_manifests", "tags", tag, "index", "sha256", d.Encoded(), "link")
}

// tagLink holds the digest a tag names now.
func tagLink(repo, tag string) string {
	return path.Join(layoutRepositories, repo, "_manifests", "tags", tag, "current", "link")
}
