// Package installer holds what an installation is about: the cluster that is wanted ([Cluster], read from flags or a
// Clusterfile and immutable once validated), the cluster images that make it ([Image]), the environment their scripts and
// templates see, and the engine that runs named steps and tells the operator about them.
//
// It touches no machine: package host reaches hosts, package agent runs verbs on them, and the pipelines are package steps.
package installer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
)

// Types of cluster images (label sealos.io.type).
const (
	TypeRootfs      = "rootfs"
	TypePatch       = "patch"
	TypeApplication = "application"
)

// Defaults and fixed names, as sealos has them.
const (
	DefaultName     = "default"
	DefaultVIP      = "10.103.97.2"
	APIServerDomain = "apiserver.cluster.local"
	APIServerPort   = 6443
	KubeletPort     = 10250
	DefaultSSHPort  = 22
	DefaultUser     = "root"
)

// SSH is how hosts are logged in to. Empty fields take the cluster's value,
// then the default. Password and KeyPassphrase live in memory only.
type SSH struct {
	User          string
	Password      string
	KeyFile       string
	KeyPassphrase string
	Port          int
	Jump          string // hosts to go through, [USER@]HOST[:PORT] with commas; "none" for none
}

// or fills the empty fields of s from base.
func (s SSH) or(base SSH) SSH {
	if s.KeyPassphrase == "" && (s.KeyFile == "" || s.KeyFile == base.KeyFile) {
		s.KeyPassphrase = base.KeyPassphrase
	}
	s.User, s.Password, s.KeyFile = cmp.Or(s.User, base.User), cmp.Or(s.Password, base.Password), cmp.Or(s.KeyFile, base.KeyFile)
	s.Port, s.Jump = cmp.Or(s.Port, base.Port), cmp.Or(s.Jump, base.Jump)
	return s
}

// Host is one host of the cluster that is wanted.
type Host struct {
	IP     netip.Addr
	Master bool
	SSH    SSH // complete: every field resolved
	Env    map[string]string
	// Tunnel tells that the address is the end of a tunnel on this machine, since a port was given with it: the host itself is
	// elsewhere.
	Tunnel bool
	// Away tells that the host is in the cluster and that this run does not work on it: the run keeps it in the record and does
	// not contact it.
	Away bool
	// Recorded is when the record was written of a finished cluster that has the host; zero for one that was named to be in
	// the cluster, or that a run which did not come to its end was to add.
	Recorded time.Time
}

// Cluster is what the operator wants: read once, validated once, then only read.
type Cluster struct {
	Name    string
	Images  []string // cluster images by name; empty = all that the bundle holds
	Hosts   []Host   // masters first, in the order given; Hosts[0] is master0
	Leaving []Host   // hosts of the recorded cluster that this run takes out of it; they are not in Hosts
	SSH     SSH
	Env     map[string]string
	Secret  []string // names of variables that are secret though their names do not say so
	Command []string // replaces the CMD of the first application image
	Configs []Config
	Kubeadm [][]byte // kubeadm, kubelet and kube-proxy documents of the user

	Created     time.Time // when the cluster was first made; zero = not yet
	Labels      map[string]string
	Annotations map[string]string

	Status Status   // of the record this was read from
	Kept   []string // cluster images that the cluster has, by its record
}

// Masters returns the control-plane hosts, master0 first.
func (c *Cluster) Masters() []Host { return c.filter(func(h Host) bool { return h.Master }) }

// Nodes returns the worker hosts.
func (c *Cluster) Nodes() []Host { return c.filter(func(h Host) bool { return !h.Master }) }

// MasterIPs returns the addresses of all masters, master0 first.
func (c *Cluster) MasterIPs() []string { return addresses(c.Masters()) }

// IPs returns the addresses of all hosts, masters first.
func (c *Cluster) IPs() []string { return addresses(c.Hosts) }

// Away returns the addresses of the hosts that are not worked on.
func (c *Cluster) Away() []string { return addresses(c.filter(func(h Host) bool { return h.Away })) }

func (c *Cluster) filter(keep func(Host) bool) []Host {
	var out []Host
	for _, h := range c.Hosts {
		if keep(h) {
			out = append(out, h)
		}
	}
	return out
}

func addresses(hosts []Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.IP.String())
	}
	return out
}

// nameForm is a DNS label: the name becomes a directory and a part of unit names.
var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Complete fills in defaults, orders masters first and checks what can be
// checked without a machine. Every problem is reported, not the first one.
func (c *Cluster) Complete() error {
	var errs []error
	if c.Name == "" {
		c.Name = DefaultName
	}
	if !nameForm.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("cluster name %q: expected lower-case letters, digits and '-', at most 63", c.Name))
	}
	c.SSH = c.SSH.or(SSH{User: DefaultUser, Port: DefaultSSHPort})
	if c.Env == nil {
		c.Env = map[string]string{}
	}
	c.Hosts = slices.Concat(c.Masters(), c.Nodes())
	seen := map[netip.Addr]bool{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.SSH = h.SSH.or(c.SSH)
		h.Env = maps.Clone(h.Env)
		if !h.IP.IsValid() {
			errs = append(errs, errors.New("a host without an address"))
			continue
		}
		if seen[h.IP] {
			errs = append(errs, fmt.Errorf("host %s is given twice (a host is a master or a node, once)", h.IP))
		}
		seen[h.IP] = true
	}
	for i := range c.Leaving {
		c.Leaving[i].SSH = c.Leaving[i].SSH.or(c.SSH)
	}
	switch {
	case len(c.Masters()) == 0:
		errs = append(errs, errors.New("no master: give at least one address with --masters"))
	case !slices.ContainsFunc(c.Hosts, func(h Host) bool { return h.Master && !h.Away }):
		errs = append(errs, fmt.Errorf("no master is named that is in cluster %s: its masters are %s; name one that works", c.Name, strings.Join(c.MasterIPs(), ", ")))
	}
	errs = append(errs, c.checkSecrets())
	errs = append(errs, c.checkKnownNetworks())
	return errors.Join(errs...)
}

// Warnings returns what is unusual but allowed.
func (c *Cluster) Warnings() []string {
	var out []string
	switch n := len(c.Masters()); {
	case n == 2:
		out = append(out, "2 masters are worse than 1: when either of them fails, etcd has no majority and the cluster cannot be changed; have 3, or 1")
	case n > 0 && n%2 == 0:
		out = append(out, fmt.Sprintf("%s: an even number tolerates no more failures than %d, as %d would; etcd needs a majority", count.Of(n, "master"), n/2-1, n-1))
	}
	for _, name := range c.forgottenSecrets() {
		out = append(out, fmt.Sprintf("%s was set when the cluster was made and is secret, so it was not recorded: what uses it needs it again (-e %s=VALUE)", name, path.Base(name)))
	}
	return out
}

// MergeEnv merges maps into a new one; later ones win.
func MergeEnv(layers ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, l := range layers {
		maps.Copy(out, l)
	}
	return out
}
