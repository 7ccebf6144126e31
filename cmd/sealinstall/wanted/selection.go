package wanted

import (
	"errors"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
)

// Selection is the recorded cluster, with the hosts that flags name to work on: all
// when they name none. With no record the hosts that are named are the cluster.
func (o *Options) Selection(verb string) (*installer.Cluster, error) {
	known, err := o.recorded(o.Cluster)
	if err != nil {
		return nil, err
	}
	return completed(o.selectionOn(verb, known))
}

// SelectionAgain is Selection with the record that was found on a master, for a machine that has none.
func (o *Options) SelectionAgain(verb string) func(*installer.Cluster) (*installer.Cluster, error) {
	return func(found *installer.Cluster) (*installer.Cluster, error) {
		return completed(o.selectionOn(verb, &record{Cluster: found}))
	}
}

func (o *Options) selectionOn(verb string, known *record) (*installer.Cluster, error) {
	c := &installer.Cluster{Name: o.Cluster, Env: map[string]string{}}
	if known == nil {
		if len(o.masters.hosts)+len(o.hosts.hosts) == 0 {
			return nil, usage.Errorf("no cluster %q is recorded on this machine: run %s where it was made or on one of its masters, or name its hosts with --masters and --nodes", o.Cluster, verb)
		}
		if err := o.addHosts(c); err != nil {
			return nil, usage.Error{Err: err}
		}
	} else {
		c = known.Cluster
		c.Name = o.Cluster
		c.Kept, c.Images = c.Images, nil
		if named := slices.Concat(o.masters.hosts, o.nodes.hosts); len(named) > 0 {
			if err := c.Select(named); err != nil {
				return nil, usage.Error{Err: err}
			}
		}
	}
	if err := errors.Join(o.layCertificates(c), o.laySSH(&c.SSH)); err != nil {
		return nil, err
	}
	return c, o.layUserConfig(c, known != nil)
}

// Unknown tells that nothing is recorded of the cluster, and that flags name no master of it.
func (o *Options) Unknown() bool {
	known, err := o.recorded(o.Cluster)
	return err == nil && known == nil && len(o.masters.hosts) == 0
}

// Chosen is the recorded cluster with the hosts that a command goes to: all, or those that flags select. With no record the
// hosts that are named are the cluster.
func (o *Options) Chosen(verb string) (*installer.Cluster, error) {
	known, err := o.recorded(o.Cluster)
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
			return nil, usage.Error{Err: err}
		}
	}
	for _, role := range o.roles {
		if role != "master" && role != "node" {
			return nil, usage.Errorf("--roles %q: expected master or node", role)
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
		return nil, usage.Errorf("no host of cluster %s is selected: none of those named has the role %s; its hosts are %s", c.Name, strings.Join(o.roles, " or "), strings.Join(c.IPs(), ", "))
	}
	return c, nil
}
