// Package wanted tells which cluster a command means and how its hosts are reached: flags and files say so, and the record of what
// was made before.
package wanted

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
)

// Options are the flags that say which cluster is meant and how its hosts are reached.
type Options struct {
	Cluster  string        // its name
	Timeout  time.Duration // longest time for one script or one kubeadm command
	Yes      bool          // nobody is asked
	Harmless bool          // nothing is done, so nothing is asked
	LeaveOut []string      // addresses of hosts that Whole goes on without
	CertSANs []string      // further names and addresses of the API server's certificates
	// First tells why the bundle cannot make the first cluster of that name; nil when it can. It must be there unless Harmless is.
	First func(cluster string) error

	masters, nodes hostList
	hosts          hostList // of either role, for commands that only select
	roles          []string
	local          bool // this machine alone
	ssh            installer.SSH
	sshSources
	hostKey      string
	knownHosts   string
	jobs         int
	env          []string
	secretEnv    []string // names of variables whose values are secret though their names do not say so
	command      []string
	configFiles  []string
	clusterfile  string
	files        files
	certValidity string
	onMaster     func(cluster string) string // where a master keeps the record of a cluster, if not in its usual place
}

// ClusterFlags registers the flags of every command that goes to the hosts of a cluster.
func (o *Options) ClusterFlags(f *pflag.FlagSet) {
	f.Var(&o.masters, "masters", "addresses of the masters: 10.0.0.2,10.0.0.3:2222,10.0.0.4-10.0.0.6")
	f.Var(&o.nodes, "nodes", "addresses of the nodes, in the same form")
	f.StringVar(&o.Cluster, "cluster", installer.DefaultName, "name of the cluster")
	o.sshFlags(f)
	f.IntVar(&o.jobs, "jobs", 10, "hosts worked on at once")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "longest time for one script or one kubeadm command")
}

// SelectFlags registers the flags that select hosts of a cluster beside --masters and --nodes: see [Options.Chosen]. sealos calls
// --hosts --ips.
func (o *Options) SelectFlags(f *pflag.FlagSet) {
	f.Var(&o.hosts, "hosts", "addresses of hosts of the cluster, whatever their role")
	f.StringSliceVarP(&o.roles, "roles", "r", nil, "roles of the hosts: master, node")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "ips" {
			name = "hosts"
		}
		return pflag.NormalizedName(name)
	})
}

// SettingsFlags registers the flags that say how a cluster is made.
func (o *Options) SettingsFlags(f *pflag.FlagSet) {
	o.files.flags(f)
	o.CertificateFlags(f)
	f.StringArrayVarP(&o.env, "env", "e", nil, "KEY=VALUE for scripts and templates (repeatable)")
	f.StringArrayVar(&o.secretEnv, "secret-env", nil, "NAME of a variable of the environment whose value is secret, like those of names with PASSWORD, KEY or TOKEN: not recorded, not shown (repeatable)")
	f.StringArrayVar(&o.command, "cmd", nil, "shell line to run instead of the CMD of the last image (repeatable)")
	f.StringArrayVar(&o.configFiles, "config-file", nil, "file with Config, kubeadm, kubelet or kube-proxy documents (repeatable)")
	f.StringVarP(&o.clusterfile, "file", "f", "", "Clusterfile that describes the cluster, instead of --masters and --nodes")
	f.BoolVar(&o.local, "local", false, "this machine is the only master, without ssh; nodes may be given with --nodes")
}

// CertificateFlags registers the flags that say what certificates hold.
func (o *Options) CertificateFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.CertSANs, "cert-sans", nil, "further names and addresses of the API server's certificates")
	f.StringVar(&o.certValidity, "cert-validity", "", "how long new certificates are valid: 100y, 365d or 8760h (default 100y)")
}

// Mean adds hosts to those that flags name.
func (o *Options) Mean(hosts []installer.Address) {
	o.hosts.given, o.hosts.hosts = true, append(o.hosts.hosts, hosts...)
}

// Check refuses what flags say that cannot be: a [usage.Error].
func (o *Options) Check() error {
	switch {
	case o.ssh.Port < 0 || o.ssh.Port > 65535:
		return usage.Errorf("--port %d: expected 1 to 65535", o.ssh.Port)
	case o.jobs < 1:
		return usage.Errorf("--jobs %d: expected at least 1", o.jobs)
	case o.Timeout < time.Second:
		return usage.Errorf("--timeout %s: expected at least 1s", o.Timeout)
	case o.local && o.masters.given:
		return usage.Errorf("--local is this machine as the only master: give that or --masters, not both")
	}
	return nil
}

// ClusterfileGiven tells whether a Clusterfile describes the cluster.
func (o *Options) ClusterfileGiven() bool { return o.clusterfile != "" }

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

// addHosts adds the hosts of the flags to those of a file.
func (o *Options) addHosts(c *installer.Cluster) error {
	known := slices.Clone(c.Hosts)
	for _, list := range []struct {
		flag   string
		hosts  []installer.Address
		master bool
	}{
		{"--masters", o.masters.hosts, true},
		{"--nodes", o.nodes.hosts, false},
		{"--hosts", o.hosts.hosts, true}, // no record tells their roles, and a cluster has a master
	} {
		for _, a := range list.hosts {
			i := slices.IndexFunc(known, func(h installer.Host) bool { return h.IP == a.IP })
			if i >= 0 && known[i].Master != list.master {
				return fmt.Errorf("%s: host %s has the other role in the cluster, and keeps it", list.flag, a.IP)
			}
			if i >= 0 { // meant, not a second one
				if a.Port != 0 {
					c.Hosts[i].SSH.Port, c.Hosts[i].Tunnel = a.Port, a.Tunnel()
				}
				c.Hosts[i].Recorded = time.Time{} // it must be in, whatever another machine has done since
				continue
			}
			c.Hosts = append(c.Hosts, installer.Host{IP: a.IP, Master: list.master, SSH: installer.SSH{Port: a.Port}, Tunnel: a.Tunnel()})
		}
	}
	return nil
}
