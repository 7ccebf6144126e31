package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// exitStatus ends this program with a status that says all there is to say.
type exitStatus struct{ code int }

func (e *exitStatus) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// Commands for single hosts of a cluster: exec, scp, logs.

// selectionHelp is what --help says of their selection.
const selectionHelp = `

Hosts are those of the recorded cluster: all, or those that --roles, --hosts,
--masters and --nodes select. Without a record the hosts that are named are meant.`

// manyJobs is how many hosts these commands work on at once: they ask little of each, and one that hangs must not hold up others.
const manyJobs = 100

// remoteFlags registers the flags that these commands have beside their own. sealos calls --hosts --ips.
func (o *runOptions) remoteFlags(cmd *cobra.Command, timeout string) {
	f := cmd.Flags()
	o.hostFlags(f)
	f.Var(&o.hosts, "hosts", "addresses of hosts of the cluster, whatever their role")
	f.StringSliceVarP(&o.roles, "roles", "r", nil, "roles of the hosts: master, node")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "ips" {
			name = "hosts"
		}
		return pflag.NormalizedName(name)
	})
	f.Lookup("jobs").DefValue = fmt.Sprint(manyJobs)
	f.Lookup("timeout").Usage = timeout
	f.Lookup("output").Usage = "form of the output: text or json"
	f.Lookup("verbose").Hidden = true
	cmd.PreRun = func(*cobra.Command, []string) {
		if !f.Changed("jobs") {
			o.jobs = manyJobs
		}
	}
}

// openedSite is the hosts that a command goes to.
type openedSite struct {
	*fleet.Fleet
	cluster *installer.Cluster
	state   *installer.State
	close   func()
}

func (s *openedSite) names() []string {
	var out []string
	for _, t := range s.Targets {
		out = append(out, t.IP.String())
	}
	return out
}

// openSite finds the hosts that a command goes to. It contacts none.
func (o *runOptions) openSite(cmd *cobra.Command, verb string) (*openedSite, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cluster, err := o.chosen(verb)
	if err != nil {
		return nil, err
	}
	policy, err := o.hostKeyPolicy()
	if err != nil {
		return nil, err
	}
	if err := o.askPassphrases(cluster); err != nil {
		return nil, err
	}
	state, err := installer.ReadState(cluster.Name)
	if err != nil {
		return nil, err
	}
	known := o.knownHosts
	if known == "" {
		known = state.Path("known_hosts")
	}
	f := fleet.New(fleet.Options{
		Cluster: cluster.Name, Report: installer.Silent(), Jobs: o.jobs, Timeout: o.timeout,
		HostKey: policy, KnownHosts: known, AgentSocket: agentSocket(), UserConfig: o.userConfig,
	}, cluster.Hosts)
	// What goes wrong with a connection that nobody needs any more is no failure of the command.
	return &openedSite{Fleet: f, cluster: cluster, state: state, close: func() { _, _ = f.Close(), state.Close() }}, nil
}

// chosen is the recorded cluster with the hosts that a command goes to: all, or those that flags select. With no record the
// hosts that are named are the cluster.
func (o *runOptions) chosen(verb string) (*installer.Cluster, error) {
	known, err := o.recorded(o.cluster)
	if err != nil {
		return nil, err
	}
	named := slices.Concat(o.masters.hosts, o.nodes.hosts, o.hosts.hosts)
	if known != nil {
		o.masters, o.nodes, o.hosts = hostList{}, hostList{}, hostList{} // a selection may be without a master
	}
	c, err := completed(o.selectionOn(verb, known))
	if err != nil {
		return nil, err
	}
	if known != nil && len(named) > 0 {
		if err := c.Select(named); err != nil {
			return nil, usageError{err}
		}
	}
	for _, role := range o.roles {
		if role != "master" && role != "node" {
			return nil, usageError{fmt.Errorf("--roles %q: expected master or node", role)}
		}
	}
	left := 0
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if role := map[bool]string{true: "master", false: "node"}[h.Master]; len(o.roles) > 0 && !slices.Contains(o.roles, role) {
			h.Away = true
		}
		if !h.Away {
			left++
		}
	}
	if left == 0 {
		return nil, usageError{fmt.Errorf("no host of cluster %s is selected: none of those named has the role %s; its hosts are %s", c.Name, strings.Join(o.roles, " or "), strings.Join(c.IPs(), ", "))}
	}
	return c, nil
}
