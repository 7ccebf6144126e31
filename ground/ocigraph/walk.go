package ocigraph

import (
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Node is a manifest or an index that a walk has come to.
type Node struct {
	v1.Descriptor // as what is above it describes it
	Manifest      Manifest
	Depth         int // indexes above it
}

// Visitor is what a walk asks and tells. Every error ends the walk and is returned as it is. Functions that may wait or be
// cut short bring their context with them.
type Visitor struct {
	// Load reads a manifest or an index: [Read] if nothing is special about it.
	Load func(d v1.Descriptor) (Manifest, error)
	// Children are those of an index that the walk goes on to; nil means all of them.
	Children func(n Node) ([]v1.Descriptor, error)
	// Leaf is told of a config or a layer, and what names it; nil if they do not matter.
	Leaf func(n Node, d v1.Descriptor) error
	// Done is told of a manifest or an index when everything below it has been visited; nil if that does not matter.
	Done func(n Node) error
}

// Walk visits what root reaches, each digest once: first what is below an index, then config and layers, at last the
// document itself. Indexes that are nested deeper than MaxNesting are a *LimitError.
func Walk(root v1.Descriptor, v Visitor) error {
	w := walk{Visitor: v, seen: map[digest.Digest]bool{}}
	return w.visit(root, 0)
}

type walk struct {
	Visitor
	seen map[digest.Digest]bool
}

func (w *walk) visit(d v1.Descriptor, depth int) error {
	if w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	if depth > MaxNesting {
		return &LimitError{Digest: d.Digest, Nesting: MaxNesting}
	}
	m, err := w.Load(d)
	if err != nil {
		return err
	}
	n := Node{Descriptor: d, Manifest: m, Depth: depth}
	children := m.Manifests
	if w.Children != nil {
		if children, err = w.Children(n); err != nil {
			return err
		}
	}
	for _, child := range children {
		if err := w.visit(child, depth+1); err != nil {
			return err
		}
	}
	if w.Leaf != nil {
		for _, leaf := range m.Leaves() {
			if w.seen[leaf.Digest] {
				continue
			}
			w.seen[leaf.Digest] = true
			if err := w.Leaf(n, leaf); err != nil {
				return err
			}
		}
	}
	if w.Done != nil {
		return w.Done(n)
	}
	return nil
}

// Find goes down from root to the first document that names no others, which as a rule is an image's manifest. choose
// picks the child of an index.
func Find(root v1.Descriptor, load func(d v1.Descriptor) (Manifest, error), choose func(n Node) (v1.Descriptor, error)) (found Node, err error) {
	err = Walk(root, Visitor{
		Load: load,
		Children: func(n Node) ([]v1.Descriptor, error) {
			if len(n.Manifest.Manifests) == 0 {
				found = n
				return nil, nil
			}
			child, err := choose(n)
			return []v1.Descriptor{child}, err
		},
	})
	return found, err
}
