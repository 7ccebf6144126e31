package registry

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/disk"
)

// treeNode is a directory, or a file if it has no children map. Only names are kept: listings need no more.
type treeNode struct {
	children map[string]*treeNode
}

func (n *treeNode) add(path string) {
	for name := range strings.SplitSeq(path, "/") {
		if n.children == nil {
			n.children = map[string]*treeNode{}
		}
		next := n.children[name]
		if next == nil {
			next = &treeNode{}
			n.children[name] = next
		}
		n = next
	}
}

// find follows an absolute path.
func (n *treeNode) find(path string) *treeNode {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

func (d *placeDriver) buildTree() *treeNode {
	root := &treeNode{children: map[string]*treeNode{}}
	for b := range d.blobs {
		root.add(disk.BlobData(b))
	}
	for name, r := range d.repos {
		addLinks(root, name, r.Layers, disk.LayerLink)
		addLinks(root, name, r.Manifests, disk.RevisionLink)
		for tag, m := range r.Tags {
			root.add(disk.TagLink(name, tag))
			root.add(disk.TagHistoryLink(name, tag, m))
		}
		if len(r.Tags) == 0 {
			root.add(disk.LayoutRepositories + "/" + name + "/_manifests/tags")
			root.find(disk.LayoutRepositories + "/" + name + "/_manifests/tags").children = map[string]*treeNode{}
		}
	}
	return root
}

func addLinks(root *treeNode, name string, digests map[digest.Digest]bool, path func(string, digest.Digest) string) {
	for d := range digests {
		root.add(path(name, d))
	}
}
