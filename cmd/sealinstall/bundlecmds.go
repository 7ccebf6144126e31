package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/spf13/cobra"
)

func newVerifyCommand(o *runOptions) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Check every byte of the bundle", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			f, err := o.openBundle()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			damages, err := f.Verify(cmd.Context(), nil)
			if err != nil {
				return err
			}
			for _, d := range damages {
				fmt.Fprintf(cmd.OutOrStdout(), "damaged: %s: bytes %d to %d: %s\n", d.Entry, d.Offset, d.Offset+d.Length, d.Reason)
			}
			if len(damages) > 0 {
				return fmt.Errorf("%d entries are damaged: copy the file again", len(damages))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the bundle is whole: %d blobs, %d images, index %s\n", len(f.Blobs()), len(f.Images()), f.IndexDigest())
			return err
		},
	}
}

func newListCommand(o *runOptions) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "list", Short: "List the images of the bundle", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkForm(form); err != nil {
				return err
			}
			f, err := o.openBundle()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			if form == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(f.Images())
			}
			return listImages(cmd.OutOrStdout(), f.Images())
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text or json")
	return cmd
}

// checkForm checks the value of --output.
func checkForm(form string) error {
	if form != "text" && form != "json" {
		return usageError{fmt.Errorf("--output %q: expected text or json", form)}
	}
	return nil
}

func listImages(w io.Writer, images []bundle.Image) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "KIND\tNAME\tSIZE\tDIGEST")
	for _, i := range images {
		kind := string(i.Kind)
		if i.ClusterType != "" {
			kind += "/" + i.ClusterType
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.19s\n", kind, i.Name, humanize.IBytes(uint64(i.Size)), i.Digest)
	}
	return tw.Flush()
}

// inspection is what inspect prints; the names of its fields are a promise.
type inspection struct {
	FormatVersion int            `json:"formatVersion"`
	PayloadOffset int64          `json:"payloadOffset"`
	IndexDigest   string         `json:"indexDigest"`
	Images        []bundle.Image `json:"images"`
	Blobs         struct {
		Count      int   `json:"count"`
		Size       int64 `json:"size"`
		StoredSize int64 `json:"storedSize"`
	} `json:"blobs"`
}

func inspect(f *bundle.Reader) inspection {
	in := inspection{FormatVersion: f.FormatVersion(), PayloadOffset: f.PayloadOffset(), IndexDigest: f.IndexDigest().String(), Images: f.Images()}
	for _, b := range f.Blobs() {
		in.Blobs.Count++
		in.Blobs.Size += b.Size
		in.Blobs.StoredSize += b.StoredSize
	}
	return in
}

func newInspectCommand(o *runOptions) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "inspect", Short: "Show what the bundle holds and where its bytes go", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkForm(form); err != nil {
				return err
			}
			f, err := o.openBundle()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			in := inspect(f.Reader)
			if form == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(in)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "format %d, payload from byte %d (tail -c +%d FILE | zstd -dc | tar t), index %s\n%d blobs, %s, %s in the file\n",
				in.FormatVersion, in.PayloadOffset, in.PayloadOffset+1, in.IndexDigest, in.Blobs.Count, humanize.IBytes(uint64(in.Blobs.Size)), humanize.IBytes(uint64(in.Blobs.StoredSize)))
			return listImages(cmd.OutOrStdout(), in.Images)
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text or json")
	return cmd
}
