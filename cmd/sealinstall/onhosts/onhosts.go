// Package onhosts has the commands that go to hosts which an operator selects, beside any run: exec, scp, logs and support-bundle.
package onhosts

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/status"
)

// Program is what these commands share with all others.
type Program interface {
	// HostFlags registers the flags that say which hosts are meant, and how they are reached.
	HostFlags(f *pflag.FlagSet)
	// Mean adds hosts to those that flags name.
	Mean(hosts []installer.Address)
	// Open finds the hosts that are meant. It contacts none.
	Open(verb string) (*Site, error)
	// State is where this machine keeps what it knows of the cluster.
	State() (*installer.State, error)
	// Stubs is the program for hosts: that of the bundle, or this one where it has no bundle behind it. It may be read until it is
	// closed.
	Stubs() (stubs *payload.Payload, closeBundle func(), err error)
	// Status asks hosts of a site, and its cluster, how they are. It needs the bundle.
	Status(ctx context.Context, s *Site) (status.Status, error)
	// Version is that of this program.
	Version() string
}

// Site is the hosts that a command goes to.
type Site struct {
	*fleet.Fleet
	Cluster *installer.Cluster
	State   *installer.State
}

// close ends the connections. What goes wrong with one that nobody needs any more is no failure of the command.
func (s *Site) close() {
	_ = s.Fleet.Close()
	_ = s.State.Close()
}

func (s *Site) names() []string {
	var out []string
	for _, t := range s.Targets {
		out = append(out, t.IP.String())
	}
	return out
}

// ExitStatus ends this program with a status that says all there is to say.
type ExitStatus struct{ Code int }

func (e *ExitStatus) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

type commands struct{ Program }

// Commands are the commands of a program.
func Commands(p Program) []*cobra.Command {
	c := &commands{p}
	return []*cobra.Command{c.newExec(), c.newScp(), c.newLogs(), c.newSupportBundle()}
}

// selection is what --help says of the hosts.
const selection = `

Hosts are those of the recorded cluster: all, or those that --roles, --hosts,
--masters and --nodes select. Without a record the hosts that are named are meant.`

// manyJobs is how many hosts these commands work on at once: they ask little of each, and one that hangs must not hold up others.
const manyJobs = 200

// flags registers the flags that all these commands have.
func (c *commands) flags(cmd *cobra.Command, timeout string) {
	f := cmd.Flags()
	c.HostFlags(f)
	f.Lookup("jobs").DefValue = fmt.Sprint(manyJobs)
	f.Lookup("timeout").Usage = timeout
	f.Lookup("output").Usage = "form of the output: text or json"
	f.Lookup("verbose").Hidden, f.Lookup("progress").Hidden = true, true // there is no more to show
}

func (c *commands) open(cmd *cobra.Command, verb string) (*Site, error) {
	site, err := c.Open(verb)
	if err == nil && !cmd.Flags().Changed("jobs") {
		site.Jobs = manyJobs
	}
	return site, err
}

func isJSON(cmd *cobra.Command) bool { return cmd.Flag("output").Value.String() == "json" }
