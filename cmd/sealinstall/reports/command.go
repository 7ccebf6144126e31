package reports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/report"
)

// Command is the command `report`.
func Command(version string) *cobra.Command {
	var cluster, output string
	cmd := &cobra.Command{
		Use: "report [FILE.html]", Short: "Write a page about the cluster: what is recorded, its last run, the runs before",
		Long: `Write a page about the cluster: what is recorded of it, its last run that
changed something or failed, and a list of the runs before.

It contacts no host. The page is one file, for a browser and for paper, and needs
no network. Without FILE.html it is reports/cluster.html in the directory of the
cluster, beside the pages that each run leaves there by itself. What it says is
in a file beside it that ends in .json, too.`,
		Example: "  ./sealinstall report\n  ./sealinstall report --cluster plant-7 /media/usb/plant-7.html\n  ./sealinstall report -o json | jq .outcome",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage.Errorf("%s, expected one file", count.Of(len(args), "argument"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage.Errorf("--output %q: expected text, json", output)
			}
			place, err := installer.StateDir(cluster)
			if err != nil {
				return err
			}
			made, err := onDemand(&installer.State{Dir: place}, cluster, version, time.Now())
			if err != nil {
				return err
			}
			if output == "json" {
				text, err := made.JSON()
				if err == nil {
					_, err = cmd.OutOrStdout().Write(text)
				}
				return err
			}
			file := (&installer.State{Dir: place}).Path(dir, "cluster.html")
			if len(args) > 0 {
				file = args[0]
			}
			if err := write(file, made); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), file)
			return err
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", installer.DefaultName, "name of the cluster")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text: write the page and print its name; json: print the same as JSON, write nothing")
	return cmd
}

// onDemand is the report of a cluster: that of its last run, with what is recorded and the runs before.
func onDemand(s *installer.State, cluster, version string, now time.Time) (report.Report, error) {
	record, err := recordOf(s, cluster)
	if err != nil {
		return report.Report{}, err
	}
	names, err := runs(s)
	if err != nil {
		return report.Report{}, err
	}
	if record == nil && len(names) == 0 {
		return report.Report{}, usage.Errorf("nothing is recorded of a cluster %q on this machine: run report where it was made, or on one of its masters", cluster)
	}
	made := report.Report{Version: report.Version, Outcome: report.Done, Begins: now.UTC(), Steps: []report.Step{}, Hosts: []report.Host{}}
	made.Asked = progress.Asked{Verb: "report", Cluster: cluster, Program: version}
	var earlier []report.Earlier
	for i, name := range slices.Backward(names) {
		of, err := read(s, name)
		switch {
		case err != nil:
			return report.Report{}, err
		case i == len(names)-1:
			made = of
		default:
			earlier = append(earlier, report.Earlier{
				Begins: of.Begins, Verb: of.Asked.Verb, Outcome: of.Outcome, Seconds: of.Seconds, Changes: of.Changes, File: s.Path(dir, name+".html"),
			})
		}
	}
	made.Record, made.Earlier = record, earlier
	return made, nil
}

// recordOf is what is recorded of a cluster: here, else as a master has it; nil where there is nothing.
func recordOf(s *installer.State, cluster string) (*report.Record, error) {
	for _, file := range []string{s.Path(ledger.ClusterfileName), ledger.RecordOnMaster(cluster)} {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var c *installer.Cluster
		if err == nil {
			c, err = installer.ParseClusterfile(file, text)
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of the cluster: %w", err)
		}
		out := &report.Record{Phase: c.Status.Phase, Hosts: []report.RecordHost{}, Images: c.Images, Bundles: c.Bundles()}
		if len(c.Status.Conditions) > 0 {
			out.Message = c.Status.Conditions[0].Message
		}
		for _, h := range c.Hosts {
			role := "node"
			if h.Master {
				role = "master"
			}
			out.Hosts = append(out.Hosts, report.RecordHost{Address: h.IP.String(), Role: role})
		}
		return out, nil
	}
	return nil, nil
}
