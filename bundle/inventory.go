package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Inventory lists the blobs that a site has: digest to size in bytes.
type Inventory map[digest.Digest]int64

// inventoryHeader is the first line of an inventory's text.
const inventoryHeader = "# sealinstall inventory 1"

// maxInventoryLine bounds a line of the text, in bytes.
const maxInventoryLine = 200

// WriteTo writes the inventory as text: a header, then a digest and a size on each line, sorted.
func (v Inventory) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	b.WriteString(inventoryHeader + "\n")
	for _, d := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(&b, "%s %d\n", d, v[d])
	}
	return b.WriteTo(w)
}

// ReadInventory reads what WriteTo wrote. name is for errors.
func ReadInventory(name string, r io.Reader) (Inventory, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, maxInventoryLine), maxInventoryLine)
	if !lines.Scan() || lines.Text() != inventoryHeader {
		return nil, errors.Join(fmt.Errorf("%s: it is no inventory: it does not begin with %q; make one with: sealinstall inventory", name, inventoryHeader), lines.Err())
	}
	v := Inventory{}
	for n := 2; lines.Scan(); n++ {
		d, size, _ := strings.Cut(lines.Text(), " ")
		bytes, err := strconv.ParseInt(size, 10, 64)
		if derr := checkDigest(digest.Digest(d)); err != nil || derr != nil || bytes < 0 {
			return nil, fmt.Errorf("%s:%d: expected a digest and a size, not %q", name, n, lines.Text())
		}
		v[digest.Digest(d)] = bytes
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// And returns the blobs of v that o has, too.
func (v Inventory) And(o Inventory) Inventory {
	both := Inventory{}
	for d, size := range v {
		if s, ok := o[d]; ok && s == size {
			both[d] = size
		}
	}
	return both
}

// MissingError lists the blobs that a bundle expects at the site and that are not there.
type MissingError struct {
	Where string // a host or a directory
	Blobs []Expected
}

func (e *MissingError) Error() string {
	var b strings.Builder
	var size int64
	for _, m := range e.Blobs {
		size += m.Size
	}
	fmt.Fprintf(&b, "%s lacks %s, %d bytes, that this bundle leaves out because the site was said to have them; "+
		"install the bundle that --base named first, or build this one again with the site's own inventory (--have) or without either:", e.Where, count.Of(len(e.Blobs), "blob"), size)
	for i, m := range e.Blobs {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Blobs)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s (%d bytes)", m.Digest, m.Size)
	}
	return b.String()
}

// Reach lists the blobs that an image and its referrers are made of, each once, children before parents, those included that the
// site is expected to have. What an index names for platforms that the bundle does not hold is left out.
func (r *Reader) Reach(image Image) ([]Expected, error) {
	var all []Expected
	seen := map[digest.Digest]bool{}
	add := func(d digest.Digest, size int64) error {
		if !seen[d] { // referrers share their config
			all = append(all, Expected{d, size})
		}
		seen[d] = true
		return nil
	}
	visitor := ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) { return ocigraph.Read(r, d.Digest) },
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			return slices.DeleteFunc(n.Manifest.Manifests, func(child v1.Descriptor) bool {
				_, ok := r.Stat(child.Digest)
				return !ok
			}), nil
		},
		Leaf: func(_ ocigraph.Node, d v1.Descriptor) error { return add(d.Digest, d.Size) },
		Done: func(n ocigraph.Node) error { return add(n.Digest, n.Manifest.Size) },
	}
	for _, root := range append([]v1.Descriptor{{Digest: image.Digest}}, image.Referrers...) {
		if err := ocigraph.Walk(root, visitor); err != nil {
			return nil, fmt.Errorf("image %s: %w", image.Name, err)
		}
	}
	return all, nil
}
