package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newCertCommand(o *runOptions) *cobra.Command {
	var renew []string
	cmd := &cobra.Command{
		Use: "cert", Short: "Show the certificates of every master; renew them or add names", Args: noArgs,
		Long: `Show the certificates of every master; renew them or add names.

Without flags nothing is changed. --cert-sans adds names and addresses to the API
server's certificates; --renew makes certificates anew, all or those named as the
list shows them: apiserver, etcd/server, admin.conf; and registry, the one that
the master's registry shows, which needs no restart for it.`,
		Example: "  ./sealinstall cert\n  ./sealinstall cert --cert-sans api.example.org\n  ./sealinstall cert --renew all --cert-validity 10y\n  ./sealinstall cert --renew registry",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			var found []steps.HostCertificates
			change := len(renew)+len(o.CertSANs) > 0
			list := steps.Certificates(change, renew, func(c []steps.HostCertificates) { found = c })
			cluster, err := o.Selection("cert")
			if err != nil {
				return err
			}
			if o.dryRun {
				return o.preview(cmd, cluster, o.SelectionAgain("cert"), steps.PlanCertificates(renew))
			}
			return o.pipeline(cmd, cluster, o.SelectionAgain("cert"), list, func(ctx context.Context, r *steps.Run, timings []installer.Timing, err error) error {
				if err != nil {
					return nil // it is told; the cluster's recorded state stays as it was
				}
				if installer.Changes(timings) > 0 {
					if err := r.Ledger.RecordSettings(context.WithoutCancel(ctx)); err != nil {
						return err
					}
				}
				o.printed = true
				return printCertificates(cmd.OutOrStdout(), found, o.output, time.Now())
			})
		},
	}
	o.hostFlags(cmd.Flags())
	cmd.Flags().StringSliceVar(&renew, "renew", nil, "certificates to make anew: all, or their names")
	o.CertificateFlags(cmd.Flags())
	o.previewFlag(cmd.Flags())
	return cmd
}

func printCertificates(w io.Writer, found []steps.HostCertificates, form string, now time.Time) error {
	if form == "json" {
		return json.NewEncoder(w).Encode(found)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tCERTIFICATE\tFOR\tSIGNED BY\tVALID UNTIL\tLEFT")
	for _, h := range found {
		for _, c := range h.Certificates {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Host, c.Path, c.Subject, c.Issuer, c.Ends.Format(time.DateOnly), left(c.Ends.Sub(now)))
		}
	}
	return tw.Flush()
}

// left says how long something lasts, in the unit an operator thinks in.
func left(d time.Duration) string {
	days := int(d / (24 * time.Hour))
	switch {
	case d <= 0:
		return "EXPIRED"
	case days > 3*365:
		return count.Of(days/365, "year")
	}
	return count.Of(days, "day")
}
