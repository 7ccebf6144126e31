package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
)

var errNotReady = errors.New("the cluster is not ready")

func newStatusCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Ask every host of the cluster how it is; status 1 when something is missing", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			cluster, err := o.selection("status")
			if err != nil {
				return err
			}
			var s steps.Status
			o.onlyLooks = true
			ask := steps.AskStatus(func(found steps.Status) { s = found })
			return o.pipeline(cmd, cluster, o.selectionAgain("status"), ask, func(_ context.Context, _ *steps.Run, _ []installer.Timing, err error) error {
				if err != nil {
					return nil // it is told
				}
				o.printed = true
				if err := printStatus(cmd.OutOrStdout(), s, o.output, time.Now()); err != nil || s.Ready {
					return err
				}
				return errNotReady
			})
		},
	}
	o.hostFlags(cmd.Flags())
	return cmd
}

func printStatus(out io.Writer, s steps.Status, form string, now time.Time) error {
	if form == "json" {
		return json.NewEncoder(out).Encode(s)
	}
	w := &strings.Builder{}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tNAME\tROLE\tSTATE\tCERTIFICATES")
	for _, h := range s.Hosts {
		state := "not in the cluster"
		switch {
		case !h.Reached:
			state = "not reached"
		case h.Joined && h.Stopped != "":
			state = "in the cluster, stopped"
		case h.Joined:
			state = "in the cluster"
		case h.Begun:
			state = "begun, not finished"
		}
		ends := "-"
		if !h.CertsEnd.IsZero() {
			ends = fmt.Sprintf("%s (%s)", left(h.CertsEnd.Sub(now)), h.FirstCert)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", h.Address, h.Hostname, h.Role, state, ends)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if s.LockedBy != "" {
		fmt.Fprintf(w, "another sealinstall works on the cluster now: %s\n", s.LockedBy)
	}
	for _, p := range s.Problems {
		about := p.Check
		if p.Host != "" {
			about = p.Host + ": " + p.Check
		}
		fmt.Fprintf(w, "%s: %s (%s)\n", about, p.Message, p.Remedy)
	}
	for _, waiting := range s.Waiting {
		fmt.Fprintf(w, "waiting: %s\n", waiting)
	}
	for _, cause := range s.Causes {
		fmt.Fprintf(w, "cause: %s\n", cause)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	verdict := "ready"
	if !s.Ready {
		verdict = "not ready"
	}
	fmt.Fprintf(w, "cluster %s: %s\n", s.Cluster, verdict)
	_, err := io.WriteString(out, installer.Plain(w.String())) // much of it is what others said
	return err
}
