package wanted

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// Desired is the cluster that flags and files ask for: the hosts that they name
// are to be in it, and every host that is recorded stays in it.
func (o *Options) Desired() (*installer.Cluster, error) {
	c, err := o.described()
	if err != nil {
		return nil, err
	}
	name := o.Cluster
	if c != nil && c.Name != "" {
		name = c.Name
	}
	known, err := o.recorded(name)
	if err != nil {
		return nil, err
	}
	if known != nil && known.Status.TakenApart() {
		known = nil // what is left of it are hosts that are gone
	}
	return o.desiredOn(c, name, known)
}

// described is the cluster of the Clusterfile; nil if none is given.
func (o *Options) described() (*installer.Cluster, error) {
	if o.clusterfile == "" {
		return nil, nil
	}
	return o.files.read(o.clusterfile)
}

// DesiredAgain is Desired with the record that was found on a master, for a machine that has none.
func (o *Options) DesiredAgain(found *installer.Cluster) (*installer.Cluster, error) {
	c, err := o.described()
	if err != nil {
		return nil, err
	}
	known := &record{Cluster: found}
	if found.Finished() {
		known.finished = found
	}
	return o.desiredOn(c, found.Name, known)
}

func (o *Options) desiredOn(file *installer.Cluster, name string, known *record) (*installer.Cluster, error) {
	c, base, err := o.ground(file, known)
	if err != nil {
		return nil, err
	}
	c.Name = name
	if err := o.lay(c); err != nil {
		return nil, err
	}
	if len(c.Hosts) == 0 {
		return nil, usage.Errorf("%s has no Cluster document with hosts, and no --masters are given", o.clusterfile)
	}
	if known != nil && c != known.Cluster {
		if err := c.Extend(known.Cluster); err != nil {
			return nil, usage.Error{Err: err}
		}
	}
	return completed(c, o.layUserConfig(c, base))
}

// ground is what the flags are laid over: a Clusterfile; else the record, as it is when no masters are named, and its settings in
// force when some are. recorded tells that ssh's settings may be mere defaults of an earlier run.
func (o *Options) ground(file *installer.Cluster, known *record) (c *installer.Cluster, recorded bool, err error) {
	switch {
	case file != nil:
		return file, false, nil
	case known != nil && !o.masters.given:
		if err := o.localIs(known); err != nil {
			return nil, false, err
		}
		known.Kept, known.Images = known.Images, nil
		return known.Cluster, true, nil
	case known != nil && known.finished != nil:
		f := known.finished
		return &installer.Cluster{
			Env: installer.MergeEnv(f.Env), Command: f.Command, Configs: slices.Clone(f.Configs), Kubeadm: slices.Clone(f.Kubeadm),
		}, false, nil
	case o.masters.given:
		return &installer.Cluster{Env: map[string]string{}}, false, nil
	}
	if !o.Harmless {
		if err := o.First(cmp.Or(o.Cluster, installer.DefaultName)); err != nil {
			return nil, false, err
		}
	}
	own, err := o.thisMachine()
	if err != nil {
		return nil, false, err
	}
	return &installer.Cluster{Env: map[string]string{}, Hosts: []installer.Host{{IP: own, Master: true}}}, false, nil
}

// localIs refuses --local for a cluster that is another.
func (o *Options) localIs(known *record) error {
	if !o.local {
		return nil
	}
	masters := known.MasterIPs()
	if own, ok := fleet.OwnAddress(); ok && len(masters) == 1 && masters[0] == own.String() {
		return nil
	}
	return usage.Errorf("a cluster %q is recorded in %s, with the masters %s: it is not this machine alone; leave --local out, or give a new cluster a name of its own (--cluster NAME)", known.Name, known.file, strings.Join(masters, ", "))
}

// thisMachine is the address of this machine for a cluster of which it is the
// only master. It is never taken by accident: --local or --yes says so, or a person does.
func (o *Options) thisMachine() (netip.Addr, error) {
	own, ok := fleet.OwnAddress()
	if !ok {
		return netip.Addr{}, usage.Errorf("no --masters given, and this machine has no IPv4 address of its own")
	}
	switch {
	case o.local, o.Harmless:
		return own, nil
	case o.nodes.given:
		return netip.Addr{}, usage.Errorf("--nodes without --masters: name the masters, or give --local to make this machine (%s) the only one", own)
	case o.Yes:
		return own, nil
	}
	text := fmt.Sprintf("no --masters given: install a cluster on this machine alone (%s)? Type yes to go on: ", own)
	if term.IsTerminal(int(os.Stdin.Fd())) && Confirmed(os.Stderr, text, "yes") {
		return own, nil
	}
	return netip.Addr{}, usage.Errorf("no --masters given, and no cluster %q is recorded here: name the masters, or give --local to install on this machine alone (%s); nothing was done", o.Cluster, own)
}
