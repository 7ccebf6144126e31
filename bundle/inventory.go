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
	fmt.Fprintf(&b, "%s lacks %d blobs, %d bytes, that this bundle leaves out because the site was said to have them; "+
		"install the bundle that --base named first, or build this one again with the site's own inventory (--have) or without either:", e.Where, len(e.Blobs), size)
	for i, m := range e.Blobs {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Blobs)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s (%d bytes)", m.Digest, m.Size)
	}
	return b.String()
}
