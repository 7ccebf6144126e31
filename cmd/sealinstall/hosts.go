package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
)

// hostList is the value of --masters or --nodes. That it was given matters as
// much as what it holds: an unset variable of a script must not mean something else.
type hostList struct {
	text  string
	given bool
	hosts []installer.Address
}

func (l *hostList) String() string { return l.text }

// Type is how --help names the value.
func (l *hostList) Type() string { return "addresses" }

// Set reads the list.
func (l *hostList) Set(text string) error {
	hosts, err := installer.ParseAddresses(text)
	if err == nil && len(hosts) == 0 {
		err = errors.New("it is empty (an unset variable?); leave the flag out if no host is meant")
	}
	l.text, l.given, l.hosts = text, true, hosts
	return err
}

// named are the hosts of both flags.
func (o *runOptions) named() []installer.Address {
	return slices.Concat(o.masters.hosts, o.nodes.hosts)
}

// addHosts adds the hosts of the flags to those of a file.
func (o *runOptions) addHosts(c *installer.Cluster) error {
	known := slices.Clone(c.Hosts)
	for _, list := range []struct {
		flag   string
		hosts  []installer.Address
		master bool
	}{{"--masters", o.masters.hosts, true}, {"--nodes", o.nodes.hosts, false}} {
		for _, a := range list.hosts {
			i := slices.IndexFunc(known, func(h installer.Host) bool { return h.IP == a.IP })
			if i >= 0 && known[i].Master != list.master {
				return fmt.Errorf("%s: host %s has the other role in the cluster, and keeps it", list.flag, a.IP)
			}
			if i >= 0 { // meant, not a second one
				if a.Port != 0 {
					c.Hosts[i].SSH.Port, c.Hosts[i].Tunnel = a.Port, a.Tunnel()
				}
				continue
			}
			c.Hosts = append(c.Hosts, installer.Host{IP: a.IP, Master: list.master, SSH: installer.SSH{Port: a.Port}, Tunnel: a.Tunnel()})
		}
	}
	return nil
}
