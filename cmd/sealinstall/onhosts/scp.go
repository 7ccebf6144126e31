package onhosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/remote"
)

func (c *commands) newScp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "scp [flags] SRC DST", Short: "Copy a file or a directory to hosts of the cluster",
		Long: `Copy a file or a directory of this machine to hosts of the cluster.

DST is what SRC becomes there: an absolute path whose parent directory exists.
With a slash at its end it is the directory that SRC is put into.

What a host lacks leaves this machine once, whatever the number of hosts: they
pass it on to each other while it arrives. Where they cannot reach each other it
is sent to each. Every file is compared by its digest on the host, appears in one
step, and is owned by root unless it replaces one of another owner. Permissions,
times of change and symbolic links are kept. A file that is there already is not
sent. In a directory that is there, files are added and replaced; nothing is
deleted. A copy that was cut off goes on with the same command.

A host that fails is told with its reason, the others get the copy, and the exit
status is 1.` + selection,
		Example: `  ./sealinstall scp site.conf /etc/site.conf
  ./sealinstall scp --roles node images/ /var/lib/site/images
  ./sealinstall scp --hosts 10.0.0.4,10.0.0.5 tool /usr/local/bin/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage.Errorf("%s, expected: %s", count.Of(len(args), "argument"), cmd.UseLine())
			}
			return c.scp(cmd, args[0], args[1])
		},
	}
	c.flags(cmd, "longest time until one host can take files")
	cmd.Flags().Lookup("progress").Hidden = false
	return cmd
}

// destination is the path on hosts that a source becomes.
func destination(src, dst string) (string, error) {
	to := path.Clean(dst)
	if strings.HasSuffix(dst, "/") {
		whole, err := filepath.Abs(src) // . has a name, too
		if err != nil {
			return "", err
		}
		to = path.Join(to, filepath.Base(whole))
	}
	if !path.IsAbs(to) || to == "/" {
		return "", fmt.Errorf("%s: expected an absolute path of the hosts", dst)
	}
	return to, nil
}

func (c *commands) scp(cmd *cobra.Command, src, dst string) (err error) {
	to, err := destination(src, dst)
	if err != nil {
		return usage.Error{Err: err}
	}
	if _, err := os.Stat(src); err != nil {
		return usage.Error{Err: err}
	}
	site, err := c.open(cmd, "scp")
	if err != nil {
		return err
	}
	defer site.close()
	stubs, closeBundle, err := c.Stubs()
	if err != nil {
		return err
	}
	defer closeBundle()
	site.Payload = stubs
	ctx := cmd.Context()
	source, err := remote.ReadSource(ctx, src)
	if err != nil {
		return fmt.Errorf("read what is to be copied: %w", err)
	}
	// Before the connections are closed.
	defer func() { err = errors.Join(err, site.TakeBack(context.WithoutCancel(ctx))) }()
	start, form := time.Now(), cmd.Flag("progress").Value.String()
	view := progress.Beside(form, cmd.ErrOrStderr())
	site.Report = installer.ReportTo(view, io.Discard, false)
	site.Report.Begins("scp", "copy "+src+" to "+to)
	results := remote.Copy(ctx, site.Fleet, site.Bring, source, to)
	view.Close()
	failure := incomplete(to, results)
	site.Report.Ends(time.Since(start), 0, "", failure, "")
	if err := printCopied(cmd, results, isJSON(cmd)); err != nil {
		return err
	}
	if failure != nil && form == "json" {
		return &ExitStatus{1} // it is told already
	}
	return failure
}

// incomplete tells on how many hosts a copy is not what it should be; nil: on none.
func incomplete(to string, results []remote.Copied) error {
	failed := 0
	for _, r := range results {
		if r.Error != "" {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s is not complete on %d of %s", to, failed, count.Of(len(results), "host"))
	}
	return nil
}

func printCopied(cmd *cobra.Command, results []remote.Copied, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		for _, r := range results {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	var w strings.Builder
	tw := tabwriter.NewWriter(&w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tCHANGED\tSENT\tFROM OTHER HOSTS\tSECONDS\tERROR")
	for _, r := range results {
		text := "-"
		if r.Error != "" {
			text = strings.ReplaceAll(r.Error, "\n", "; ")
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%.1f\t%s\n", r.Host, r.Changed, humanize.IBytes(uint64(r.Sent)), humanize.IBytes(uint64(r.Passed)), r.Seconds, text)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), installer.Plain(w.String()))
	return err
}
