package onhosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/support"
	"github.com/sealbuild/sealbuild/installer/support/redact"
)

// recipientsDir is the operator's: files of public keys. When there are any, every support bundle is encrypted to them.
const (
	recipientsDir         = "/etc/sealbuild/recipients.d" //docs:file here: public keys that support bundles are encrypted to; read, never written
	recipientsDirVariable = "SEALBUILD_RECIPIENTS_DIR"    //docs:env sealinstall: directory of public keys in place of /etc/sealbuild/recipients.d
)

// Defaults of support-bundle.
const (
	bundleSince   = "3d"
	bundleTimeout = 3 * time.Minute // for one host
)

func (c *commands) newSupportBundle() *cobra.Command {
	var file, since string
	var recipients []string
	cmd := &cobra.Command{
		Use: "support-bundle", Short: "Gather what whoever helps needs to know, without secrets, in one file",
		Long: `Gather what whoever helps needs to know, without secrets, in one file.

It takes no lock, brings nothing to a host and changes nothing there, so it works
beside a run, and while hosts, the API or etcd are dead: what could not be had is
said in the file and at the end.

The file is a tar.gz in the layout of troubleshoot.sh, with index.html for
persons. Secrets of the cluster are not read; passwords, keys and tokens are
taken out. It is encrypted by age where --recipient, or files in
` + recipientsDir + `, name public keys of age or ssh.

Exit status: 0 all that was asked for is in it, 1 parts are missing, or there is
no file.` + selection,
		Example: `  ./sealinstall support-bundle
  ./sealinstall support-bundle --hosts 10.0.0.4 --since 2h -o /tmp/node4.tar.gz
  ./sealinstall support-bundle --recipient age1… --recipient ~/.ssh/id_ed25519.pub
  age -d -i KEY support-bundle-default-….tar.gz.age | tar xz     # who has the key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage.Errorf("unknown argument %q: hosts are given with --hosts, --masters and --nodes; nothing was done", args[0])
			}
			room := support.Room{Version: c.Version()}
			var err error
			if room.Since, err = parseSince(since, time.Now()); err != nil {
				return usage.Errorf("--since %q: %w", since, err)
			}
			to, err := readRecipients(recipients)
			if err != nil {
				return usage.Error{Err: err}
			}
			return c.supportBundle(cmd, &room, file, to)
		},
	}
	shared := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.HostFlags(shared)
	shared.VisitAll(func(f *pflag.Flag) {
		if f.Name != "output" && f.Name != "verbose" && f.Name != "progress" { // -o is the file, and there is no more to show
			cmd.Flags().AddFlag(f)
		}
	})
	f := cmd.Flags()
	f.SetNormalizeFunc(shared.GetNormalizeFunc())
	f.Lookup("jobs").DefValue, f.Lookup("timeout").DefValue = fmt.Sprint(manyJobs), bundleTimeout.String()
	f.Lookup("timeout").Usage = "longest time for one host"
	f.StringVarP(&file, "output", "o", "", "file to write (default support-bundle-CLUSTER-TIME.tar.gz here)")
	f.StringVar(&since, "since", bundleSince, "lines of logs since then: 10m, 2h, 3d, 2026-01-02, \"2026-01-02 15:04\" (of this machine) or 2026-01-02T15:04:05Z")
	f.StringArrayVar(&recipients, "recipient", nil, "public key of who may open it (age1…, ssh-ed25519 …, ssh-rsa …), or a file of such keys (repeatable)")
	return cmd
}

// readRecipients reads who may open the file: those that are named, else those of the operator's directory.
func readRecipients(named []string) (support.Recipients, error) {
	if len(named) > 0 {
		return support.ReadRecipients(named)
	}
	dir := os.Getenv(recipientsDirVariable)
	if dir == "" {
		dir = recipientsDir
	}
	return support.ReadRecipientsDir(dir)
}

func (c *commands) supportBundle(cmd *cobra.Command, room *support.Room, file string, to support.Recipients) error {
	site, err := c.Open("support-bundle")
	if err != nil {
		return err
	}
	defer site.close()
	if !cmd.Flags().Changed("jobs") {
		site.Jobs = manyJobs
	}
	if !cmd.Flags().Changed("timeout") {
		site.Timeout = bundleTimeout
	}
	known, _ := site.secrets()
	room.Fleet, room.Cluster, room.State = site.Fleet, site.Cluster, site.State
	room.Within, room.Redact = site.Timeout, redact.New(known)
	room.Status = func(ctx context.Context) (status.Status, error) { return c.Status(ctx, site) }
	root := "support-bundle-" + site.Cluster.Name + "-" + time.Now().UTC().Format("20060102T150405Z")
	if file == "" {
		file = root + ".tar.gz"
	}
	if len(to) > 0 && !strings.HasSuffix(file, ".age") {
		file += ".age"
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return usage.Errorf("-o %s: it is there already; name another file", file)
	}
	out, err := durable.Create(file, ".new-")
	if err != nil {
		return err
	}
	defer out.Discard()
	room.Dir = filepath.Dir(file)
	asked := 0
	room.Ended = func(host string, missing int) {
		asked++
		note := ""
		if missing > 0 {
			note = fmt.Sprintf(", %s %s missing", count.Of(missing, "part"), count.Word(missing, "is", "are"))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: done (%d of %d)%s\n", host, asked, len(site.Targets), note)
	}
	sealed, err := to.Encrypt(out)
	if err != nil {
		return fmt.Errorf("encrypt the bundle: %w", err)
	}
	made, err := room.Write(cmd.Context(), sealed, root)
	if err = errors.Join(err, sealed.Close()); err != nil {
		return fmt.Errorf("%w; no file was written", err)
	}
	size, err := out.Seek(0, 1)
	if err != nil {
		return err
	}
	if err := out.Commit(0o600); err != nil {
		return err
	}
	printMissing(cmd, made.Missing)
	how := "not encrypted"
	if len(to) > 0 {
		how = fmt.Sprintf("encrypted to %s", count.Of(len(to), "recipient"))
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, %s, %s\n", file, humanize.IBytes(uint64(size)), count.Of(made.Hosts, "host"), count.Of(made.Files, "file"), how); err != nil {
		return err
	}
	if n := len(made.Missing); n > 0 {
		return fmt.Errorf("%s could not be had and %s missing in %s", count.Of(n, "part"), count.Word(n, "is", "are"), file)
	}
	return nil
}

// mostMissing is up to how many missing parts are told one by one. The bundle has all.
const mostMissing = 20

func printMissing(cmd *cobra.Command, missing []support.Missing) {
	if len(missing) == 0 {
		return
	}
	var w strings.Builder
	tw := tabwriter.NewWriter(&w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tMISSING\tWHY")
	for i, m := range missing {
		if i == mostMissing {
			fmt.Fprintf(tw, "\t%d more\tsee index.html\n", len(missing)-i)
			break
		}
		host := m.Host
		if host == "" {
			host = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", host, m.Collector, strings.Join(strings.Fields(m.Error), " "))
	}
	_ = tw.Flush() // stderr: the exit status tells it, too
	fmt.Fprint(cmd.ErrOrStderr(), installer.Plain(w.String()))
}
