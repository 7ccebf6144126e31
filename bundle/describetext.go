package bundle

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// topImages is how many of the largest images a text lists.
const topImages = 10

// WriteText writes the description for people. file is the name of the bundle, for the commands that read it without us.
func (d Description) WriteText(out io.Writer, file string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "format version\t%d\n", d.FormatVersion)
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
		fmt.Fprintf(w, "expected at the site\t%d blobs, %s\n", d.Expected.Count, size(d.Expected.Size))
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
