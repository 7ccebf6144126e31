package bundle

import (
	"github.com/opencontainers/go-digest"
)

// Difference is what one bundle has that another has not. The JSON names are a promise.
type Difference struct {
	Added   []Image       `json:"added"`
	Removed []Image       `json:"removed"`
	Changed []ChangeImage `json:"changed"` // of the same name, with another digest
	Same    int           `json:"same"`    // images
	Shared  BlobCount     `json:"shared"`  // blobs that both have
	New     BlobCount     `json:"new"`     // that only the second has
	Gone    BlobCount     `json:"gone"`    // that only the first has
}

// ChangeImage is an image before and after.
type ChangeImage struct {
	Name string        `json:"name"`
	From digest.Digest `json:"from"`
	To   digest.Digest `json:"to"`
}

// BlobCount is blobs and their bytes in the file.
type BlobCount struct {
	Count  int   `json:"count"`
	Stored int64 `json:"stored"`
}

func (c *BlobCount) add(b BlobInfo) {
	c.Count++
	c.Stored += b.StoredSize
}

// Diff compares two bundles by their indexes.
func Diff(a, b *Reader) Difference {
	d := Difference{Added: []Image{}, Removed: []Image{}, Changed: []ChangeImage{}}
	before := map[string]Image{}
	for _, i := range a.Images() {
		before[i.Name] = i
	}
	after := map[string]bool{}
	for _, i := range b.Images() {
		after[i.Name] = true
		old, ok := before[i.Name]
		switch {
		case !ok:
			d.Added = append(d.Added, i)
		case old.Digest != i.Digest:
			d.Changed = append(d.Changed, ChangeImage{i.Name, old.Digest, i.Digest})
		default:
			d.Same++
		}
	}
	for _, i := range a.Images() {
		if !after[i.Name] {
			d.Removed = append(d.Removed, i)
		}
	}
	for _, blob := range b.Blobs() {
		if _, ok := a.Stat(blob.Digest); ok {
			d.Shared.add(blob)
		} else {
			d.New.add(blob)
		}
	}
	for _, blob := range a.Blobs() {
		if _, ok := b.Stat(blob.Digest); !ok {
			d.Gone.add(blob)
		}
	}
	return d
}
