package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/steps"
)

var errNotReady = errors.New("the cluster is not ready")

// watchEvery is the time between two answers where --watch says none.
const watchEvery = "5s"

func newStatusCommand(o *runOptions) *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Ask every host of the cluster how it is; status 1 when something is missing", Args: noArgs,
		Long: `Ask every host of the cluster, and the cluster itself, how they are.

It takes no lock, brings nothing to a host and changes nothing there. It answers
within 3 seconds (200 hosts: 9; or --timeout), also while hosts are dead, the
API hangs, or another sealinstall works. Exit status: 0 healthy, 1 not, 3 no
host answers, or none is known.`,
		Example: "  ./sealinstall status\n  ./sealinstall status -o json | jq .problems\n  ./sealinstall status --watch=10s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if cmd.Flags().Changed("watch") && watch < time.Second {
				return usage.Errorf("--watch=%s: expected at least 1s", watch)
			}
			cluster, err := o.Selection("status")
			if err != nil {
				if o.Unknown() {
					return cannotAsk{err} // no record, and no hosts named
				}
				return err
			}
			var last status.Status
			o.onlyLooks = true
			var within time.Duration
			if cmd.Flags().Changed("timeout") {
				within = o.Timeout
			}
			ask := steps.AskStatus(within, watch, func(s status.Status) error {
				last = s
				if watch == 0 {
					return nil
				}
				return showAgain(cmd.OutOrStdout(), s, o.output)
			})
			return o.pipeline(cmd, cluster, o.SelectionAgain("status"), ask, func(_ context.Context, _ *steps.Run, _ []installer.Timing, err error) error {
				if err != nil {
					return nil // it is told
				}
				if o.printed = true; watch > 0 {
					return nil // the operator has seen enough
				}
				if err := printStatus(cmd.OutOrStdout(), last, o.output); err != nil {
					return err
				}
				switch {
				case !last.Asked:
					return cannotAsk{status.ErrCannotAsk}
				case !last.Ready:
					return errNotReady
				}
				return nil
			})
		},
	}
	o.hostFlags(cmd.Flags())
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "ask again and again, with so long between two answers (default "+watchEvery+"), until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = watchEvery
	return cmd
}

// cannotAsk marks an error for which nothing is known of the cluster.
type cannotAsk struct{ error }

func (e cannotAsk) Unwrap() error { return e.error }

// showAgain shows one answer of several: in place of the one before on a terminal, else after it.
func showAgain(out io.Writer, s status.Status, form string) error {
	if f, ok := out.(*os.File); ok && form != "json" && term.IsTerminal(int(f.Fd())) {
		if _, err := io.WriteString(out, "\x1b[H\x1b[2J"); err != nil {
			return err
		}
	}
	if form != "json" {
		if _, err := fmt.Fprintf(out, "%s\n", s.At.Local().Format(time.DateTime)); err != nil {
			return err
		}
	}
	return printStatus(out, s, form)
}

func printStatus(out io.Writer, s status.Status, form string) error {
	if form == "json" {
		return json.NewEncoder(out).Encode(s)
	}
	_, err := io.WriteString(out, s.Text())
	return err
}
