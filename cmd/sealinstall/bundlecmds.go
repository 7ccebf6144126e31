package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
)

// withBundle opens the bundle for as long as do takes.
func (o *runOptions) withBundle(do func(*bundle.File) error) (err error) {
	f, err := o.openBundle()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return do(f)
}

func newVerifyCommand(o *runOptions) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Check every byte of the bundle, and its signature when one is demanded", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withBundle(func(f *bundle.File) error {
				view, so := progress.Beside("auto", cmd.ErrOrStderr()), int64(0)
				rep := installer.ReportTo(view, io.Discard, false)
				rep.Begins("verify", "check every byte of the bundle")
				work := rep.Does("", "verifies the bundle", f.Size())
				damages, err := f.Verify(cmd.Context(), func(done, _ int64) {
					work.Did(done - so)
					so = done
				})
				view.Close()
				if err != nil {
					return err
				}
				for _, d := range damages {
					part := ""
					if len(f.Parts()) > 1 {
						part = fmt.Sprintf(" (in %s)", strings.Join(f.Holding(d.Offset, d.Length), ", "))
					}
					fmt.Fprintf(cmd.OutOrStdout(), "damaged: %s: bytes %d to %d%s: %s\n", d.Entry, d.Offset, d.Offset+d.Length, part, d.Reason)
				}
				if len(damages) > 0 {
					return fmt.Errorf("%s %s damaged: copy the file again", count.Of(len(damages), "entry", "entries"), count.Word(len(damages), "is", "are"))
				}
				signed := ""
				if o.signer != "" {
					signed = ", signed by " + o.signer
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "the bundle is whole: %s, %s, index %s%s\n", count.Of(len(f.Blobs()), "blob"), count.Of(len(f.Images()), "image"), f.IndexDigest(), signed)
				return err
			})
		},
	}
}

func newListCommand(o *runOptions) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use: "list", Short: "List the images of the bundle", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(form); err != nil {
				return err
			}
			return o.withBundle(func(f *bundle.File) error {
				if form == "json" {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(f.Images())
				}
				return listImages(cmd.OutOrStdout(), f.Images())
			})
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text or json")
	return cmd
}

// checkForm checks the value of --output.
func checkForm(form string) error {
	if form != "text" && form != "json" {
		return usage.Errorf("--output %q: expected text or json", form)
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
	bundle.Description
	Images []bundle.Image `json:"images"`
}

func newInspectCommand(o *runOptions) *cobra.Command {
	var form, sbom string
	var lock, signature bool
	cmd := &cobra.Command{
		Use: "inspect", Short: "Show what the bundle holds and where its bytes go", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkForm(form); err != nil {
				return err
			}
			document, ok := map[string]string{"": "", "cyclonedx": "sbom.cdx.json", "spdx": "sbom.spdx.json"}[sbom]
			if !ok {
				return usage.Errorf("--sbom=%s: expected cyclonedx or spdx", sbom)
			}
			return o.withBundle(func(f *bundle.File) error {
				out := cmd.OutOrStdout()
				switch {
				case lock:
					return printBytes(out)(f.Document("lock.json"))
				case document != "":
					return printBytes(out)(f.Document(document))
				case signature:
					return printBytes(out)(f.Signature())
				}
				d, err := f.Describe()
				if err != nil {
					return err
				}
				if form == "json" {
					return json.NewEncoder(out).Encode(inspection{d, f.Images()})
				}
				if err := d.WriteText(out, f.Parts()[0]); err != nil {
					return err
				}
				fmt.Fprintln(out)
				return listImages(out, f.Images())
			})
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&lock, "lock", false, "print the lock: image, digest, source line")
	cmd.Flags().StringVar(&sbom, "sbom", "", "print the bill of materials, as cyclonedx or spdx")
	cmd.Flags().Lookup("sbom").NoOptDefVal = "cyclonedx"
	cmd.Flags().BoolVar(&signature, "signature", false, "print the signature as ssh-keygen -Y verify takes it")
	cmd.MarkFlagsMutuallyExclusive("lock", "sbom", "signature", "output")
	return cmd
}

func printBytes(w io.Writer) func([]byte, error) error {
	return func(data []byte, err error) error {
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}
}

func newExtractCommand(o *runOptions) *cobra.Command {
	var images []string
	var blob string
	cmd := &cobra.Command{
		Use: "extract DIR", Short: "Unpack the bundle, or some of its images, as an OCI image layout", Args: oneArg,
		Long: `Unpack the bundle, or some of its images, as an OCI image layout that skopeo,
crane and oras read. DIR must be empty or not exist. With --blob, one blob is
written to a file that must not exist. Every byte is checked.`,
		Example: `  ./sealinstall extract layout
  ./sealinstall extract --image registry.k8s.io/pause:3.10.2 pause
  skopeo copy oci:pause:registry.k8s.io/pause:3.10.2 docker://registry.example/pause:3.10.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withBundle(func(f *bundle.File) error {
				if blob != "" {
					return f.ExtractBlob(cmd.Context(), digest.Digest(blob), args[0], nil)
				}
				wanted, err := pick(f.Images(), images)
				if err != nil {
					return err
				}
				return f.ExtractLayout(cmd.Context(), args[0], wanted, nil)
			})
		},
	}
	cmd.Flags().StringArrayVar(&images, "image", nil, "an image by its full name, as list prints it (repeatable; default all)")
	cmd.Flags().StringVar(&blob, "blob", "", "write this blob (sha256:…) to the file DIR instead")
	cmd.MarkFlagsMutuallyExclusive("image", "blob")
	return cmd
}

// pick finds images by name; nil stands for all.
func pick(all []bundle.Image, names []string) ([]bundle.Image, error) {
	var wanted []bundle.Image
	var missing []string
	for _, name := range names {
		found := false
		for _, i := range all {
			if i.Name == name {
				wanted, found = append(wanted, i), true
			}
		}
		if !found {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the bundle does not hold %s; list shows what it holds", strings.Join(missing, ", "))
	}
	return wanted, nil
}
