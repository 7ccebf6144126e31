package wanted

import (
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
)

// Whole is the recorded cluster without the hosts that are left out. A
// part of it is not reset: the rest would be a cluster that lost hosts unasked.
func (o *Options) Whole() (*installer.Cluster, error) {
	known, err := o.recorded(o.Cluster)
	if err != nil {
		return nil, err
	}
	return o.wholeOf(known)
}

// WholeAgain is Whole with the record that was found on a master, for a machine that has none.
func (o *Options) WholeAgain(found *installer.Cluster) (*installer.Cluster, error) {
	return o.wholeOf(&record{Cluster: found})
}

func (o *Options) wholeOf(known *record) (*installer.Cluster, error) {
	c, err := o.selectionOn("reset", known)
	if err != nil {
		return nil, err
	}
	if known == nil && len(o.LeaveOut) > 0 {
		return nil, usage.Errorf("--leave-out: no cluster %q is recorded here, and only the hosts named are reset", o.Cluster)
	}
	out, err := installer.ParseAddresses(strings.Join(o.LeaveOut, ","))
	if err != nil {
		return nil, usage.Errorf("--leave-out: %w", err)
	}
	for _, a := range out {
		if !slices.Contains(c.IPs(), a.IP.String()) {
			return nil, usage.Errorf("--leave-out: %s is no host of cluster %s; its hosts are %s", a.IP, c.Name, strings.Join(c.IPs(), ", "))
		}
	}
	left := func(h installer.Host) bool {
		return slices.ContainsFunc(out, func(a installer.Address) bool { return a.IP == h.IP })
	}
	var missing []string
	masters := 0
	for i := range c.Hosts {
		h := &c.Hosts[i]
		if h.Away && !left(*h) {
			missing = append(missing, h.IP.String())
		}
		if h.Away = left(*h); h.Master && !h.Away {
			masters++
		}
	}
	if len(missing) > 0 {
		return nil, usage.Errorf("reset takes a cluster apart as a whole, and %s are in %s, too: name all hosts or none; one that is dead is left out with --leave-out %s (to take a host out of a cluster that goes on, use sealinstall delete)",
			strings.Join(missing, ", "), c.Name, missing[0])
	}
	if masters == 0 {
		return nil, usage.Errorf("--leave-out: no master is left; give one that can be reached, or remove %s on this machine by hand", c.Name)
	}
	return completed(c, nil)
}
