package wanted

import (
	"errors"
	"slices"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
)

// Extended is the recorded cluster with the hosts that flags name.
func (o *Options) Extended() (*installer.Cluster, error) {
	known, err := o.recorded(o.Cluster)
	if err != nil {
		return nil, err
	}
	return completed(o.extendedOn(known))
}

// ExtendedAgain is Extended with the record that was found on a master, for a machine that has none.
func (o *Options) ExtendedAgain(found *installer.Cluster) (*installer.Cluster, error) {
	return completed(o.extendedOn(&record{Cluster: found}))
}

func (o *Options) extendedOn(known *record) (*installer.Cluster, error) {
	if len(o.masters.hosts)+len(o.nodes.hosts) == 0 {
		return nil, usage.Errorf("no host to add: name new ones with --masters and --nodes")
	}
	c := &installer.Cluster{Name: o.Cluster, Env: map[string]string{}}
	if known != nil && !known.Status.TakenApart() {
		c = known.Cluster
		c.Name = o.Cluster
		c.Kept, c.Images = c.Images, nil
	}
	if err := o.lay(c); err != nil {
		return nil, err
	}
	return c, o.layUserConfig(c, known != nil)
}

// Existing is the recorded cluster with all its hosts, and with the settings that flags and files give; flags name a host of it
// where nothing is recorded here.
func (o *Options) Existing() (*installer.Cluster, error) {
	known, err := o.recorded(o.Cluster)
	if err != nil {
		return nil, err
	}
	if (known == nil || known.Status.TakenApart()) && !o.masters.given && o.clusterfile == "" {
		return nil, usage.Errorf("no cluster %q is recorded on this machine: run this where it was made, on one of its masters, or name one with --masters", o.Cluster)
	}
	c, err := o.Desired()
	if err == nil {
		Settle(c, false)
	}
	return c, err
}

// ExistingAgain is Existing with the record that was found on a master, for a machine that has none.
func (o *Options) ExistingAgain(found *installer.Cluster) (*installer.Cluster, error) {
	c, err := o.DesiredAgain(found)
	if err == nil {
		Settle(c, false)
	}
	return c, err
}

// Reduced is the recorded cluster without the hosts that flags name, and the addresses of those that were taken out of it before;
// the cluster is nil if these are all.
func (o *Options) Reduced() (c *installer.Cluster, before []string, err error) {
	known, err := o.recorded(o.Cluster)
	if err != nil {
		return nil, nil, err
	}
	named := slices.Concat(o.masters.hosts, o.nodes.hosts)
	switch {
	case len(named) == 0:
		return nil, nil, usage.Errorf("no host to take out: name some with --masters and --nodes")
	case known == nil:
		return nil, nil, usage.Errorf("no cluster %q is recorded on this machine: run delete where it was made, or on one of its masters that stays", o.Cluster)
	}
	c = known.Cluster
	named = slices.DeleteFunc(named, func(a installer.Address) bool {
		out := slices.Contains(c.TakenOut(), a.IP.String())
		if out {
			before = append(before, a.IP.String())
		}
		return out
	})
	if len(named) == 0 {
		return nil, before, nil
	}
	for _, list := range []struct {
		flag   string
		hosts  []installer.Address
		master bool
	}{{"--masters", o.masters.hosts, true}, {"--nodes", o.nodes.hosts, false}} {
		for _, a := range list.hosts {
			if slices.ContainsFunc(c.Hosts, func(h installer.Host) bool { return h.IP == a.IP && h.Master != list.master }) {
				return nil, nil, usage.Errorf("%s: host %s has the other role in the cluster: name it by that", list.flag, a.IP)
			}
		}
	}
	c.Name = o.Cluster
	c.Kept, c.Images = c.Images, nil
	if err := errors.Join(o.layCertificates(c), o.laySSH(&c.SSH), o.layUserConfig(c, true)); err != nil {
		return nil, nil, err
	}
	if err := c.Take(named); err != nil {
		return nil, nil, usage.Error{Err: err}
	}
	if len(c.Masters()) == 0 {
		return nil, nil, usage.Errorf("no master of cluster %s would be left: a cluster as a whole is taken apart with sealinstall reset", c.Name)
	}
	c, err = completed(c, nil)
	return c, before, err
}

// Settle decides on the hosts that are in the cluster and not in its Clusterfile: with prune they leave, and without they are
// worked on like the others.
func Settle(c *installer.Cluster, prune bool) {
	var stay []installer.Host
	for _, h := range c.Hosts {
		if h.Away && prune {
			h.Away = false
			c.Leaving = append(c.Leaving, h)
			continue
		}
		h.Away = false
		stay = append(stay, h)
	}
	c.Hosts = stay
}
