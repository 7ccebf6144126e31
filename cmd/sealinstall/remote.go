package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/onhosts"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// What package onhosts is given for its commands.

// HostFlags registers the flags that say which hosts are meant, and how they are reached. sealos calls --hosts --ips.
func (o *runOptions) HostFlags(f *pflag.FlagSet) {
	o.hostFlags(f)
	f.Var(&o.hosts, "hosts", "addresses of hosts of the cluster, whatever their role")
	f.StringSliceVarP(&o.roles, "roles", "r", nil, "roles of the hosts: master, node")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "ips" {
			name = "hosts"
		}
		return pflag.NormalizedName(name)
	})
}

// Mean adds hosts to those that flags name.
func (o *runOptions) Mean(hosts []installer.Address) {
	o.hosts.given, o.hosts.hosts = true, append(o.hosts.hosts, hosts...)
}

// Usage marks an error of the command line.
func (o *runOptions) Usage(err error) error { return usageError{err} }

// State is where this machine keeps what it knows of the cluster.
func (o *runOptions) State() (*installer.State, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return installer.ReadState(o.cluster)
}

// Open finds the hosts that a command goes to. It contacts none.
func (o *runOptions) Open(verb string) (*onhosts.Site, error) {
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
	}, cluster.Hosts, nil)
	return &onhosts.Site{Fleet: f, Cluster: cluster, State: state}, nil
}

// Stubs finds the program that hosts run: that of the bundle, or this one where it has none behind it.
func (o *runOptions) Stubs() (stubs *payload.Payload, closeBundle func(), err error) {
	if o.bundle == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, nil, fmt.Errorf("find this program's own file: %w", err)
		}
		f, err := bundle.OpenFile(own)
		if errors.Is(err, bundle.ErrNotBundle) {
			program, err := os.ReadFile(own)
			if err != nil {
				return nil, nil, fmt.Errorf("read this program: %w", err)
			}
			return payload.OfStub(program), func() {}, nil
		}
		if err == nil {
			_ = f.Close() // it is opened again below, and its signature is checked
		}
	}
	file, err := o.openBundle()
	if err != nil {
		return nil, nil, err
	}
	return payload.New(file.Reader), func() { _ = file.Close() }, nil
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
