package disk

import (
	"path"

	"github.com/opencontainers/go-digest"
)

// DefaultRoot is where a registry keeps its store unless it is told otherwise, as distribution's does.
const DefaultRoot = "/var/lib/registry" //docs:file masters: the images, in the layout of distribution's registry

// The distribution registry's layout, version 2, as slash-separated paths below a root.
const (
	LayoutRoot         = "docker/registry/v2"
	layoutBlobs        = LayoutRoot + "/blobs"
	LayoutRepositories = LayoutRoot + "/repositories"
	// OwnDirectory holds what is under way, and the records of bundles. It lies beside the layout's own tree, on the same
	// filesystem, so that renames work and no registry or garbage collector looks into it.
	OwnDirectory     = ".sealbuild"
	PartialDirectory = OwnDirectory + "/partial"
)

// BlobData returns the path of a blob's content. d must be a valid sha256 digest.
func BlobData(d digest.Digest) string {
	hex := d.Encoded()
	return path.Join(layoutBlobs, "sha256", hex[:2], hex, "data")
}

// LayerLink returns the path of the link that makes a layer or config part of a repository.
func LayerLink(repo string, d digest.Digest) string {
	return path.Join(LayoutRepositories, repo, "_layers", "sha256", d.Encoded(), "link")
}

// RevisionLink returns the path of the link that makes a manifest part of a repository.
func RevisionLink(repo string, d digest.Digest) string {
	return path.Join(LayoutRepositories, repo, "_manifests", "revisions", "sha256", d.Encoded(), "link")
}

// TagHistoryLink returns the path of the link that records that a tag once named a manifest; the registry needs it to delete
// manifests.
func TagHistoryLink(repo, tag string, d digest.Digest) string {
	return path.Join(LayoutRepositories, repo, "_manifests", "tags", tag, "index", "sha256", d.Encoded(), "link")
}

// TagLink returns the path of the link that holds the digest a tag names now.
func TagLink(repo, tag string) string {
	return path.Join(LayoutRepositories, repo, "_manifests", "tags", tag, "current", "link")
}
