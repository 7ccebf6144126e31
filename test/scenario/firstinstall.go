package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/documents"
	"github.com/sealbuild/sealbuild/test/testbed"
)

// firstInstallPage is followed word for word; where is the heading below which a machine's commands stand.
const (
	firstInstallPage = "docs/first-install.md"
	onConnected      = "On the connected machine"
	carriedIn        = "Carry it in"
	lookedAt         = "See it"
	siteRun          = "site.run" // what the page has sealbuild write
)

// onTheSite are the headings whose commands are typed on the first master, in their order.
var onTheSite = []string{carriedIn, "At the site", lookedAt, "Give the hosts back"}

// FollowedCommands reads the commands of docs/first-install.md by the heading they stand below.
func FollowedCommands(root string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(root, firstInstallPage))
	if err != nil {
		return nil, err
	}
	page, err := documents.Parse(firstInstallPage, string(text))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, b := range page.Blocks {
		switch {
		case b.Lang != documents.Shell:
		case !slices.Equal(b.RunBy, []string{"scenario first-install"}):
			return nil, fmt.Errorf("%s:%d: these commands are followed by scenario first-install, and do not say so", firstInstallPage, b.Line)
		default:
			out[b.Section] += b.Text + "\n"
		}
	}
	for _, heading := range append([]string{onConnected}, onTheSite...) {
		if out[heading] == "" {
			return nil, fmt.Errorf("%s has no commands below %q", firstInstallPage, heading)
		}
	}
	return out, nil
}

// WithSite is a script of the page for a site: with the addresses of its hosts, and with flags behind each command that makes or
// plans the cluster, which hosts inside containers need. Nothing else is changed.
func WithSite(script string, hosts, flags []string) string {
	script = withHosts(script, hosts)
	var lines []string
	for _, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, "./"+siteRun+" ") && strings.Contains(line, "--masters") {
			line += " " + strings.Join(flags, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n") + "\n"
}

// FirstInstall follows docs/first-install.md on a machine and on hosts that have nothing: each command as it stands there, with the
// addresses of the hosts and the flags that hosts inside containers need. fetch.sh takes the pieces of this test in place of the
// Internet's.
func FirstInstall(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	root, err := repository()
	if err != nil {
		return err
	}
	page, err := FollowedCommands(root)
	if err != nil {
		return err
	}
	connected := func(b *Built, ctx context.Context, st *story) error {
		st.heading("%s: %s", firstInstallPage, onConnected)
		script := strings.ReplaceAll(page[onConnected], "fetch.sh --version", "fetch.sh --from "+b.Upstream+" --version")
		st.say("%s", script)
		if err := command(ctx, st.out, b.Root, b.env(), "bash", "-euo", "pipefail", "-c", script); err != nil {
			return err
		}
		b.Bundle = b.work.path(siteRun)
		return command(ctx, st.out, b.Root, nil, "mv", siteRun, b.Bundle)
	}
	site, err := makeAndOpen(ctx, st, recipe{images: connected}, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	if _, err := site.master0().Exec(ctx, "mv", onSite, filepath.Join("/root", siteRun)); err != nil {
		return err
	}
	for _, heading := range onTheSite {
		// A reader takes a moment before looking; pods of the cluster's own DNS take that, too.
		if heading == lookedAt {
			if err := site.waitPods(ctx, 3*time.Minute); err != nil {
				return err
			}
		}
		st.heading("%s: %s", firstInstallPage, heading)
		script := WithSite(page[heading], []string{site.Masters[0].Addr, site.Nodes[0].Addr}, siteFlags())
		st.say("%s", script)
		if _, err := site.master0().Run(ctx, testbed.Command{
			Argv: []string{"bash", "-euo", "pipefail", "-c", script}, Dir: "/root", Env: []string{"HOME=/root"}, Stdout: st.out, Stderr: st.out,
		}); err != nil {
			return fmt.Errorf("%s, %s: %w", firstInstallPage, heading, err)
		}
	}
	return site.nothingEscaped(ctx, st)
}
