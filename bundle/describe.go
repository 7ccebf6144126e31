package bundle

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/ground/count"
)

// Description is what a bundle says of itself. The JSON names are a promise.
type Description struct {
	FormatVersion int            `json:"formatVersion"`
	PayloadOffset int64          `json:"payloadOffset"` // bytes before the payload
	Size          int64          `json:"size"`          // bytes of all files
	IndexDigest   digest.Digest  `json:"indexDigest"`   // covers every byte
	Index         Range          `json:"index"`         // the bytes that a signature signs
	Signature     *SignatureInfo `json:"signature,omitempty"`
	Kind          string         `json:"kind,omitempty"`      // what its cluster images make: [MakesCluster] or [AddsApplications]
	Platforms     []string       `json:"platforms,omitempty"` // that there is an installer for
	PartSize      int64          `json:"partSize,omitempty"`
	TrustKeys     []string       `json:"trustKeys,omitempty"`
	Documents     []string       `json:"documents,omitempty"`
	Blobs         BlobTotals     `json:"blobs"`
	Expected      *ExpectedTotal `json:"expected,omitempty"`
	Usage         []Usage        `json:"usage,omitempty"` // the largest first
}

// Kinds of bundles.
const (
	MakesCluster     = "cluster"     // it brings a rootfs
	AddsApplications = "application" // it brings none: it adds to a cluster that exists
)

// SignatureInfo says where the signature lies and which key made it. Whether the key is trusted is not in the file.
type SignatureInfo struct {
	Range
	Namespace   string `json:"namespace"`
	KeyType     string `json:"keyType,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Error       string `json:"error,omitempty"` // it is not one of this bundle
}

// BlobTotals say where the bytes go. Each blob counts once.
type BlobTotals struct {
	Count           int   `json:"count"`
	Size            int64 `json:"size"`                      // as registries know them
	StoredSize      int64 `json:"storedSize"`                // in the file
	AsIs            int   `json:"asIs"`                      // blobs kept as they are, compressed before
	AsIsSize        int64 `json:"asIsSize"`                  // their bytes
	CompressedCount int   `json:"compressedCount,omitempty"` // the others
	CompressedSize  int64 `json:"compressedSize,omitempty"`  // their bytes in the file
	SharedSize      int64 `json:"sharedSize"`                // bytes in the file that several images have in common
}

// ExpectedTotal is what the site is to have already.
type ExpectedTotal struct {
	Count int   `json:"count"`
	Size  int64 `json:"size"`
}

// Usage is how many bytes of the file an image takes.
type Usage struct {
	Name   string `json:"name"`
	Stored int64  `json:"stored"` // of all blobs it reaches
	Own    int64  `json:"own"`    // of those that no other image reaches
}

// Kind is what the cluster images make; empty if there are none.
func (r *Reader) Kind() string {
	kind := ""
	for _, i := range r.Images() {
		switch {
		case i.Kind == KindCluster && i.ClusterType == "rootfs":
			return MakesCluster
		case i.Kind == KindCluster:
			kind = AddsApplications
		}
	}
	return kind
}

// Describe reads the manifests of all images, and the signature.
func (r *Reader) Describe() (Description, error) {
	d := Description{
		FormatVersion: r.FormatVersion(), PayloadOffset: r.PayloadOffset(), Size: r.Size(), IndexDigest: r.IndexDigest(), Kind: r.Kind(),
		Index: r.IndexRange(), Platforms: r.Platforms(), PartSize: r.index.PartSize, TrustKeys: r.TrustKeys(), Documents: r.Documents(),
	}
	if at, ok := r.SignatureRange(); ok {
		d.Signature = &SignatureInfo{Range: at, Namespace: SignatureNamespace}
		if key, err := r.SignedBy(); err != nil {
			d.Signature.Error = err.Error()
		} else {
			d.Signature.KeyType, d.Signature.Fingerprint = key.Type(), ssh.FingerprintSHA256(key)
		}
	}
	for _, b := range r.Blobs() {
		d.Blobs.add(b)
	}
	for _, e := range r.Expected() {
		if d.Expected == nil {
			d.Expected = &ExpectedTotal{}
		}
		d.Expected.Count++
		d.Expected.Size += e.Size
	}
	err := d.usage(r)
	return d, err
}

func (t *BlobTotals) add(b BlobInfo) {
	t.Count++
	t.Size += b.Size
	t.StoredSize += b.StoredSize
	if b.Stored {
		t.AsIs++
		t.AsIsSize += b.Size
	} else {
		t.CompressedCount++
		t.CompressedSize += b.StoredSize
	}
}

func (d *Description) usage(r *Reader) error {
	users := map[digest.Digest]int{}
	var reached [][]Expected
	for _, i := range r.Images() {
		blobs, err := r.Reach(i)
		if err != nil {
			return err
		}
		for _, b := range blobs {
			users[b.Digest]++
		}
		reached = append(reached, blobs)
	}
	for n, i := range r.Images() {
		u := Usage{Name: i.Name}
		for _, b := range reached[n] {
			info, _ := r.Stat(b.Digest)
			u.Stored += info.StoredSize
			if users[b.Digest] == 1 {
				u.Own += info.StoredSize
			}
		}
		d.Usage = append(d.Usage, u)
	}
	for b, n := range users {
		if info, ok := r.Stat(b); ok && n > 1 {
			d.Blobs.SharedSize += info.StoredSize
		}
	}
	slices.SortStableFunc(d.Usage, func(a, b Usage) int { return cmp.Compare(b.Stored, a.Stored) })
	return nil
}

// topImages is how many of the largest images a text lists.
const topImages = 10

// WriteText writes the description for people. file is the name of the bundle, for the commands that read it without us.
func (d Description) WriteText(out io.Writer, file string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "format version\t%d\n", d.FormatVersion)
	switch d.Kind {
	case MakesCluster:
		fmt.Fprintln(w, "kind\tcluster bundle")
	case AddsApplications:
		fmt.Fprintln(w, "kind\tapplication bundle: no rootfs, it adds to a cluster that exists")
	}
	fmt.Fprintf(w, "size\t%s (%d bytes)\n", size(d.Size), d.Size)
	if d.PartSize > 0 {
		fmt.Fprintf(w, "parts\tof %s: %s and %s, …\n", size(d.PartSize), file, PartName(file, 2))
	}
	fmt.Fprintf(w, "payload offset\t%d: tail -c +%d %s | zstd -dc | tar t\n", d.PayloadOffset, d.PayloadOffset+1, file)
	fmt.Fprintf(w, "installers\t%s\n", strings.Join(d.Platforms, ", "))
	fmt.Fprintf(w, "index\t%s, at %d, %d bytes\n", d.IndexDigest, d.Index.Offset, d.Index.Length)
	switch s := d.Signature; {
	case s == nil:
		fmt.Fprintf(w, "signature\tnone\n")
	case s.Error != "":
		fmt.Fprintf(w, "signature\tBROKEN: %s\n", s.Error)
	default:
		fmt.Fprintf(w, "signature\t%s %s (%s), at %d, %d bytes\n", s.KeyType, s.Fingerprint, s.Namespace, s.Offset, s.Length)
	}
	for _, key := range d.TrustKeys {
		fmt.Fprintf(w, "trusts for others\t%s\n", key)
	}
	if len(d.Documents) > 0 {
		fmt.Fprintf(w, "documents\t%s\n", strings.Join(d.Documents, ", "))
	}
	if d.Expected != nil {
		fmt.Fprintf(w, "expected at the site\t%s, %s\n", count.Of(d.Expected.Count, "blob"), size(d.Expected.Size))
	}
	d.Blobs.writeText(w)
	if err := w.Flush(); err != nil {
		return err
	}
	return d.writeUsage(out)
}

// WriteText writes the totals for people.
func (t BlobTotals) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	t.writeText(w)
	return w.Flush()
}

func (t BlobTotals) writeText(w io.Writer) {
	fmt.Fprintf(w, "blobs\t%d, %s, of these kept as they are %d, %s\n", t.Count, size(t.Size), t.AsIs, size(t.AsIsSize))
	if t.CompressedCount > 0 {
		fmt.Fprintf(w, "compressed\t%d, %s to %s\n", t.CompressedCount, size(t.Size-t.AsIsSize), size(t.CompressedSize))
	}
	if t.SharedSize > 0 {
		fmt.Fprintf(w, "shared by images\t%s\n", size(t.SharedSize))
	}
}

func (d Description) writeUsage(out io.Writer) error {
	if len(d.Usage) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "\nwhere the bytes go: in the file, and of these shared with no other image\n")
	for _, u := range d.Usage[:min(len(d.Usage), topImages)] {
		fmt.Fprintf(w, "%s\t%s\t  %s\n", size(u.Stored), size(u.Own), u.Name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if more := len(d.Usage) - topImages; more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	return nil
}

func size(n int64) string { return humanize.IBytes(uint64(n)) }

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
